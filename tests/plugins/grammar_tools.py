"""A stand-in for a model under a grammar: it picks among the allowed tokens, by chance or as badly as it can."""

import functools
import random
from pathlib import Path
from typing import Any

import numpy as np

from phireside.models.engine import Vocabulary
from phireside.models.grammar import Grammar, Matcher

HABITS = ("any", "longest", "opener")


@functools.cache
def vocabulary_of(path: Path) -> Vocabulary:
    """A vocabulary that stays: llguidance's tokenizer keeps a bare pointer into it."""
    return Vocabulary(path)


def guide_of(path: Path) -> Any:
    """The tokenizer of a model file, as llguidance wants it."""
    return vocabulary_of(path).guide


def pick(matcher: Matcher, tokenizer: Any, habit: str, chance: random.Random) -> int:
    """Any allowed token, one of the longest, or one that opens something; the end only if nothing else is left."""
    tokens = np.flatnonzero(matcher.mask())
    going_on = tokens[~np.isin(tokens, tokenizer.eos_tokens)]
    if habit == "any" or not len(going_on):
        return int(chance.choice(tokens.tolist()))
    few = chance.sample(going_on.tolist(), min(60, len(going_on)))
    texts = {token: tokenizer.decode_bytes([token]) for token in few}
    if habit == "longest":
        return max(few, key=lambda token: len(texts[token]))
    return max(few, key=lambda token: texts[token][-1:] in b"{[(," + b'"')


def write(matcher: Matcher, tokenizer: Any, limit: int, habit: str = "any", seed: int = 0) -> tuple[str, list[int]]:
    """What such a model writes in at most `limit` tokens, asking as the engine does: the text and its tokens."""
    chance, written = random.Random(seed), []
    while not matcher.finished and len(written) < limit:
        if chance.random() < 0.7 and (forced := matcher.forced()):
            matcher.consume(forced)
            written += forced
            continue
        token = pick(matcher, tokenizer, habit, chance)
        while not matcher.allows(token):
            assert not matcher.mask()[token]
            token = pick(matcher, tokenizer, habit, chance)
        matcher.consume([token])
        if token in tokenizer.eos_tokens:
            break
        written.append(token)
    assert matcher.accepting, (tokenizer.decode_bytes(written), limit, habit, seed)
    assert len(written) <= limit
    return tokenizer.decode_bytes(written).decode(), written


def shortest(grammar: Grammar, tokenizer: Any) -> int:
    """The length of the shortest text that is found."""
    return len(grammar.matcher(tokenizer, 2000)._route)
