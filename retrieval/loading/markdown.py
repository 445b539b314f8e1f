"""Markdown: sections by its headings. The text stays as it is written; a model reads Markdown well.

LangChain's MarkdownHeaderTextSplitter takes the indentation away, code's too, and knows no underlined headings.
"""

import re
from collections.abc import Iterator

from phireside.retrieval.loading.blocks import Block, by_heading
from phireside.retrieval.loading.parsers import Parsed
from phireside.retrieval.loading.text import guessed

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HASHES = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_HASH = re.compile(r"^ {0,3}#{1,6}[ \t]+|[ \t]+#+[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
_STARTS = re.compile(r"[ \t]*([-+*>|#]|\d{1,9}[.)])[ \t]|[ \t]*$|\t| {4}")  # no paragraph that could be a heading
_KEY = re.compile(r"[\w.-]+:(\s|$)")
_TITLE = re.compile(r"""^title:[ \t]*(["']?)(.{0,300}?)\1[ \t]*$""", re.MULTILINE)


def read(data: bytes) -> Parsed:
    """The title is that of the front matter, or the first heading of the first level."""
    text = guessed(data).replace("\r\n", "\n").replace("\r", "\n")
    front, text = _front(text)
    blocks = list(_blocks(text.split("\n")))
    named = _TITLE.search(front)
    title = (named[2] if named else "") or next((block.name for block in blocks if block.level == 1), "")
    return title, by_heading(blocks)


def _front(text: str) -> tuple[str, str]:
    """Front matter (YAML between two lines of ---) and the rest. A text between two such lines is no front matter."""
    if text.startswith("---\n"):
        front, found, rest = text[4:].partition("\n---\n")
        said = (line for line in front.split("\n") if line.strip() and not line.startswith("#"))
        if found and len(front) < 10_000 and _KEY.match(next(said, "none:")):
            return front, rest
    return "", text


def _blocks(lines: list[str]) -> Iterator[Block]:
    """Headings, and everything between two of them as one block."""
    held: list[str] = []
    fence = ""
    for line in lines:
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
            fence = ""
        elif not fence and (level := _level(line, held)):
            title = held.pop() if _UNDERLINE.fullmatch(line) else line
            yield Block("\n".join(held).strip("\n"))
            held = []
            yield Block(title.strip(), level, name=_HASH.sub("", title).strip())
            continue
        held.append(line)
    yield Block("\n".join(held).strip("\n"))


def _level(line: str, before: list[str]) -> int:
    """The level of a heading that this line is, or that it underlines; 0 if neither."""
    if found := _HASHES.fullmatch(line):
        return len(found[1])
    one_line = before and not _STARTS.match(before[-1]) and (len(before) == 1 or not before[-2].strip())
    if one_line and _UNDERLINE.fullmatch(line):
        return 1 if "=" in line else 2
    return 0
