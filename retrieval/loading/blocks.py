"""What a document is made of, from top to bottom, put together as sections under their headings."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from phireside.retrieval.loading.loaded import Section

_DEEPEST, _LONGEST = 6, 120  # headings in a path, characters of each


class Block(NamedTuple):
    """A heading (`level` 1 and more), a paragraph, or a line of a list or table, which follows others closely."""

    text: str
    level: int = 0
    line: bool = False
    name: str = ""  # of a heading, where its text has more than that


def by_heading(blocks: Iterable[Block], page: int | None = None) -> Iterator[Section]:
    """Sections, each with the text up to the next heading; what comes before the first has none."""
    path: list[tuple[int, str]] = []
    pieces: list[str] = []
    in_lines = False
    for block in blocks:
        if block.level:
            if pieces:
                yield Section("".join(pieces), _named(path), page)
            path = [each for each in path if each[0] < block.level] + [
                (block.level, " ".join((block.name or block.text).split()))
            ]
            pieces, in_lines = [block.text], False
        elif block.text.strip():
            pieces.append((("\n" if block.line and in_lines else "\n\n") if pieces else "") + block.text)
            in_lines = block.line
    if pieces:
        yield Section("".join(pieces), _named(path), page)


def _named(path: list[tuple[int, str]]) -> str:
    return " > ".join(title[:_LONGEST] for _, title in path[:_DEEPEST] if title)
