"""Grammars of grounded answers: whatever a model writes, `[n]` names a passage that it was given.

Knows nothing of prompts and searches.
"""

import json
from collections.abc import Sequence

from phireside.chains.rag.answer import UNKNOWN
from phireside.models import Grammar

# A full stop ends a sentence, and then a citation is forced, but for those in numbers, initials and abbreviations.
_CHARACTER = r"[^\[\]\r\n.!?:]"
_DOTTED = r"[0-9]+(\.[0-9]+)+|[ (]([A-Z]\.)+|(Dr|Mr|Mrs|Ms|St|Prof|vs|No|ca|e\.g|i\.e)\."
# A sentence begins with a letter and has a colon in times only: a small model would begin a list ("1. ", "- ", "The
# rules are: 1.", even U+2460) and write nothing else.
_FIRST = r"[\"'\u00ab\u201c\u2018]?\p{L}"
_TITLE = r"([A-Z]\.)+|(Dr|Mr|Mrs|Ms|St|Prof)\."
_SENTENCE = rf"({_FIRST}|{_TITLE})({_CHARACTER}|{_DOTTED}|[0-9]:[0-9])*[.!?]"


def cited_sentences(citable: Sequence[int], sentences: int = 3) -> Grammar:
    """Sentences with one to three passages behind each, or "I don't know."; a space and `[` are written unsampled.

    Args:
        citable: numbers of passages, at least one.
        sentences: most of them.
    """
    number = " | ".join(json.dumps(f"[{each}]") for each in citable)
    one = 'sentence " " number (" " number){0,2}' if len(citable) > 1 else 'sentence " " number'
    more = f'(" " claim){{0,{sentences - 1}}}' if sentences > 1 else ""
    return Grammar.lark(
        f"start: claim {more} | {json.dumps(UNKNOWN)}\nclaim: {one}\nsentence: /{_SENTENCE}/\nnumber: {number}"
    )
