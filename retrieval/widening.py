"""Hits widened by the chunks around them: a sentence is not read without the one before it. Knows no ranking."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from langchain_core.documents import Document


class _Neighbours(Protocol):
    def neighbours(self, chunk: str, n: int = 1) -> list[Document]: ...


def widened(base: _Neighbours, documents: Sequence[Document], n: int) -> list[Document | None]:
    """Each chunk with up to n before and n after it, as one passage; None for one that a passage before it has whole.

    Args:
        base: that has them.
        documents: chunks, best first.
        n: chunks on either side.
    """
    covered: set[str] = set()
    found: list[Document | None] = []
    for each in documents:
        if str(each.id) in covered:
            found.append(None)
            continue
        around = [near for near in base.neighbours(str(each.id), n) if str(near.id) not in covered] or [each]
        if str(each.id) not in {str(near.id) for near in around}:  # it was removed meanwhile
            around = [each]
        covered |= {str(near.id) for near in around}
        found.append(_joined(each, around))
    return found


def _joined(middle: Document, chunks: Sequence[Document]) -> Document:
    """Chunks of one document as one passage; what overlaps is there once, what is left out between two is "…"."""
    text, end = chunks[0].page_content, _place(chunks[0], "end")
    for before, chunk in pairwise(chunks):
        start = _place(chunk, "start")
        adjacent = _place(chunk, "position") == _place(before, "position") + 1
        between = "\n" if adjacent else "\n…\n"
        text += chunk.page_content[end - start :] if start < end else between + chunk.page_content
        end = max(end, _place(chunk, "end"))
    place = {"start": chunks[0].metadata.get("start"), "end": chunks[-1].metadata.get("end")}
    kept = {name: value for name, value in place.items() if value is not None}
    return Document(id=middle.id, page_content=text, metadata={**middle.metadata, **kept})


def _place(chunk: Document, name: str) -> int:
    return int(chunk.metadata.get(name) or 0)
