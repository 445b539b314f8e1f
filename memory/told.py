"""Which facts about the person a model is told, and in what words. Pure functions; knows no database and no model."""

import re
from collections.abc import Callable, Sequence

from phireside.memory.encoding import fold
from phireside.memory.remembered import Fact
from phireside.memory.turns import first_where

MOST_TOKENS = 256
"""Of a prompt that facts may have, and never more than an eighth of it."""


def with_facts(system: str, facts: Sequence[Fact]) -> str:
    """The system text with the facts at its end, where they are read once and stay in the model's cache."""
    lines = "\n".join(f"- {fact.text}" for fact in facts)
    known = f"What you know about the person:\n{lines}" if facts else ""
    return "\n\n".join(filter(None, [system.strip(), known])) if known else system


def fitting(facts: Sequence[Fact], question: str, fits: Callable[[Sequence[Fact]], bool]) -> list[Fact]:
    """All facts if they fit; else those that share most words with the question, and of equals the newest.

    Args:
        facts: newest first.
        question: what the conversation is about.
        fits: whether there is room for some facts; if not, then not for more either.

    Returns:
        Oldest first, so that what is learned later comes behind it.
    """
    asked = _words(question)
    order = sorted(range(len(facts)), key=lambda i: -len(asked & _words(facts[i].text)))
    most = first_where(0, len(facts), lambda count: not fits([facts[i] for i in order[: count + 1]]))
    return [facts[i] for i in sorted(order[:most], reverse=True)]


def _words(text: str) -> set[str]:
    """The words of a fact or a question, folded, but for those that only say whom it is about."""
    return {word.removesuffix("s") for word in re.findall(r"\w+", fold(text)) if word not in _WHO}


_WHO = set(
    re.findall(r"\w+", "the human user person i my me mine they he his she her s m ve am is are was were has have")
)
