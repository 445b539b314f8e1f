"""HTML as blocks of text: headings, paragraphs, lines of lists and tables. Not what is hidden, or is no text."""

from collections.abc import Iterator
from typing import Any

from phireside.retrieval.loading.blocks import Block, by_heading
from phireside.retrieval.loading.loaded import Section

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LINES = {"li", "item", "tr", "row", "dt", "dd"}
_CELLS = {"td", "th", "cell"}
_BLOCKS = {
    *_HEADINGS, *_LINES, "p", "div", "section", "article", "aside", "main", "header", "footer", "blockquote", "quote",
    "pre", "ul", "ol", "dl", "list", "table", "figure", "figcaption", "address", "body", "form", "hr", "head",
}  # fmt: skip
_LEFT_OUT = {"script", "style", "noscript", "template", "nav", "svg", "math", "iframe", "object", "select", "button"}


def sections(html: str) -> Iterator[Section]:
    """Everything that can be read of a page or chapter, under its headings."""
    tree = parsed(html)
    body = tree.find("body") if tree is not None else None
    return by_heading(blocks(body) if body is not None else ())


def parsed(html: str) -> Any:
    """The tree of a page; None if nothing is there. Entities that it declares are not expanded, nothing is fetched."""
    from lxml import etree  # type: ignore[import-untyped] # only the process that reads needs it
    from lxml.html import HTMLParser  # type: ignore[import-untyped]

    parser = HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    return etree.fromstring(html.encode("utf-8", "replace"), parser) if html.strip() else None


def blocks(body: Any) -> Iterator[Block]:
    """The blocks of a tree, in the order of reading; deep trees cost no more than flat ones."""
    from lxml import etree

    walk = etree.iterwalk(body, events=("start", "end"))
    held: list[str] = []
    line, kept = False, 0  # within how many <pre>
    for event, element in walk:
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            if tag in _LEFT_OUT:
                walk.skip_subtree()
                continue
            if tag in _BLOCKS:
                before = list(_block(held, 0, line, kept))
                yield from before
                line = tag in _LINES or (line and not before)  # a paragraph that begins a list's item is that item
            kept += tag == "pre"
            held.append("\n" if tag in ("br", "lb") else element.text or "")
            continue
        if tag in _BLOCKS:
            yield from _block(held, _level(element), line or tag in _LINES, kept)
            line = False
        elif tag in _CELLS:
            held.append(" | ")
        kept -= tag == "pre"
        held.append(element.tail or "")
    yield from _block(held, 0, line, kept)


def _level(element: Any) -> int:
    """Of a heading, as HTML or trafilatura writes it; else 0."""
    return _HEADINGS.get(element.get("rend", "") if element.tag == "head" else element.tag, 0)


def _block(held: list[str], level: int, line: bool, kept: int) -> Iterator[Block]:
    """What has been held, as a block."""
    text = "".join(held)
    held.clear()
    text = text.strip("\n") if kept else " ".join(text.split())
    if text.strip(" |"):
        yield Block(f"| {text}" if text.endswith(" |") else f"- {text}" if line and not level else text, level, line)
