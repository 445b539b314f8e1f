"""Web pages that were saved: the readable part, as trafilatura finds it, or all of the text.

All of it, where next to nothing was found, or nothing is to be left out: of a short page trafilatura knows no headings.
"""

from typing import Any

from phireside.retrieval.loading.blocks import by_heading
from phireside.retrieval.loading.markup import blocks, parsed
from phireside.retrieval.loading.parsers import Parsed
from phireside.retrieval.loading.text import decoded

_LEAST, _MOST = 0.3, 0.9  # of all the text: with less it found no article, with more there was nothing around it


def read(data: bytes) -> Parsed:
    """The title is that of the page's head."""
    from trafilatura import bare_extraction  # only the process that reads needs it

    tree = parsed(decoded(data))
    if tree is None:
        return "", []
    title, body = tree.findtext(".//title") or "", tree.find("body")
    everything = list(by_heading(blocks(body))) if body is not None else []
    found: Any = bare_extraction(tree, include_comments=False, include_tables=True, favor_recall=True)
    main = list(by_heading(blocks(found.body))) if found is not None and found.body is not None else []
    length, whole = (sum(len(section.text) for section in each) for each in (main, everything))
    return title, main if _LEAST * whole <= length < _MOST * whole else everything
