"""Word's docx by python-docx: paragraphs, lists and tables in their order, sections by the styles "Heading 1" to 9.

python-docx's own paragraphs and cells leave out what stands in content controls and in tracked insertions, and reading
a cell takes as long as its table is large; so the text is taken from the XML beneath. Knows no headers, footers, notes.
"""

import io
import re
from collections.abc import Iterator
from typing import Any

from phireside.retrieval.loading.blocks import Block, by_heading
from phireside.retrieval.loading.parsers import Parsed

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_P, _TABLE, _ROW, _CELL, _VALUE = f"{_W}p", f"{_W}tbl", f"{_W}tr", f"{_W}tc", f"{_W}val"
_INSIDE = {f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}smartTag", f"{_W}customXml", f"{_W}moveTo"}
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # the same text once more
_BREAKS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-", _P: "\n"}
_HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)


def read(data: bytes) -> Parsed:
    """The title is that of the file's properties, or the first paragraph of the style "Title"."""
    from docx import Document  # only the process that reads needs it

    document = Document(io.BytesIO(data))
    body: Any = document.element.body
    for fallback in list(body.iter(_FALLBACK)):
        fallback.getparent().remove(fallback)
    styles = {style.style_id: style.name or "" for style in document.styles}
    blocks = list(_blocks(body, styles))
    return document.core_properties.title or "", by_heading(blocks)


def _blocks(body: Any, styles: dict[str, str]) -> Iterator[Block]:
    waiting = list(reversed(body))
    while waiting:
        element = waiting.pop()
        if element.tag == _P:
            yield _paragraph(element, styles)
        elif element.tag == _TABLE:
            yield from (Block(_row(row), line=True) for row in element.iter(_ROW))
        elif element.tag in _INSIDE:
            waiting.extend(reversed(element))


def _paragraph(element: Any, styles: dict[str, str]) -> Block:
    style = element.find(f"{_W}pPr/{_W}pStyle")
    name = styles.get(style.get(_VALUE, ""), "") if style is not None else ""
    text = _text(element)
    found = _HEADING.match(name)
    if text.strip() and (found or name == "Title"):
        return Block(text.strip(), int(found[1]) if found else 1)
    return Block(f"- {text}", line=True) if name.startswith("List") and text.strip() else Block(text)


def _row(row: Any) -> str:
    """A table's row as "| one | two |"; that of a table within a cell comes once more by itself."""
    cells = (" ".join(_text(cell).split()) for cell in row.iterchildren(_CELL))
    return f"| {' | '.join(cells)} |"


def _text(element: Any) -> str:
    inside = (each for each in element.iter(f"{_W}t", *_BREAKS) if each is not element)
    return "".join(_BREAKS.get(each.tag) or each.text or "" for each in inside)
