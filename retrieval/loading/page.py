"""The title and the readable text of a web page, worked out in the process of process.py.

Some pages of 2 MB take trafilatura minutes, or much memory: this is why it has limits of its own here.
"""

from dataclasses import dataclass
from typing import Any

from phireside.retrieval.loading.process import run
from phireside.retrieval.loading.text import decoded, tidy

SECONDS = 10.0
MEMORY = 512_000_000  # bytes of address space
_TITLE = 200  # characters


@dataclass(frozen=True, slots=True)
class PageText:
    """`title` may be empty; `text` is empty if nothing is readable; `length` is that of the whole text, uncut."""

    title: str
    text: str
    length: int


def page_text(body: bytes, charset: str = "", longest: int = 20_000, seconds: float = SECONDS) -> PageText:
    """Title and readable text of an HTML page.

    Args:
        body: the page.
        charset: what its sender says its encoding is; may be wrong or empty.
        longest: characters of text that are returned.
        seconds: after which its process is ended.

    Raises:
        DocumentError: it could not be read within the limits.
    """
    options = {"charset": charset, "longest": longest}
    most = 10_000 + 8 * longest
    found = run(f"{__name__}:read", body, options, seconds=seconds, memory_bytes=MEMORY, answer_bytes=most)
    return PageText(str(found["title"]), str(found["text"]), int(found["length"]))


def read(body: bytes, charset: str, longest: int) -> dict[str, Any]:
    """What `page_text` needs to know of a page; runs in the child."""
    from trafilatura import extract, load_html  # only the process that reads needs them

    tree = load_html(decoded(body, charset))
    if tree is None:
        return {"title": "", "text": "", "length": 0}
    title = " ".join((tree.findtext(".//title") or "").split())
    text = tidy(extract(tree, include_comments=False, include_tables=True) or "")
    return {"title": tidy(title)[:_TITLE], "text": text[:longest], "length": len(text)}
