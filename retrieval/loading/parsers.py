"""The parser of each kind, and what holds for all of them: their text is clean and bounded. Runs in the child."""

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from phireside.errors import DocumentError, DocumentTooLargeError
from phireside.retrieval.loading.check import check
from phireside.retrieval.loading.loaded import Section
from phireside.retrieval.loading.text import tidy

Parsed = tuple[str, Iterable[Section]]  # title, which may be empty, and sections, one after another
_MODULES = {
    "txt": "plain",
    "md": "markdown",
    "html": "html",
    "csv": "table",
    "pdf": "pdf",
    "docx": "word",
    "epub": "book",
}
_TITLE, _HEADING = 200, 400  # characters
_EMPTY = {"pdf": "It has no text: its pages are pictures, as a scanner makes them."}
_OCR = {"pdf": "It needs OCR first: `ocrmypdf in.pdf out.pdf` adds the text."}


def parse(data: bytes, kind: str, tab: bool, text_chars: int, zipped: dict[str, int]) -> dict[str, Any]:
    """A document's title and sections, as `load_bytes` asks for them.

    Args:
        data: the file.
        kind: one of `KINDS`' values.
        tab: a table's columns are divided by tabs.
        text_chars: that there may be.
        zipped: limits for what is packed, see `check.zipped`.
    """
    check(data, kind, zipped)
    read: Callable[..., Parsed] = import_module(f"{__package__}.{_MODULES[kind]}").read
    title, sections = read(data, tab) if kind == "csv" else read(data)
    rows, left = [], text_chars
    for section in sections:
        if text := tidy(section.text):
            left -= len(text)
            if left < 0:
                raise DocumentTooLargeError(
                    f"It has more than {text_chars:,} characters of text.", hint="Split it into several files."
                )
            rows.append([text, one_line(section.heading, _HEADING), section.page])
    if not rows:
        raise DocumentError(_EMPTY.get(kind, "It has no text."), hint=_OCR.get(kind, ""))
    return {"title": one_line(title, _TITLE), "sections": rows}


def one_line(text: str, most: int) -> str:
    """Text in one line, cut."""
    line = " ".join(tidy(text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
