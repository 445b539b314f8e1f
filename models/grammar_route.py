"""Routes: short token lists that are known to end a text under a grammar, and how one is found.

A route is never a guess: the parser has taken all its tokens and then an end token. It is found by walking on until the
text may end, and by cutting out what the walk did not need; so one may be missed, but none is wrong. Knows nothing of
requests, or of limits beyond the number of tokens it is given.
"""

import json
import random
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

# Single bytes in the order in which they are likely to close something; whatever opens something comes last.
_FIRST, _LAST = b"\"}])'\n>01 ,.;:", b"-\\<([{"
_BYTES = [*_FIRST, *(byte for byte in range(256) if byte not in _FIRST + _LAST), *_LAST]
_ESCAPED = re.compile(r"(?:\\u[0-9a-f]{4})+")
_ANY = 16  # allowed tokens that are considered where the vocabulary has none of a single byte
_CUTS = 60  # attempts to shorten a walk
_WALKS = 12
_SHORT = 60, 600  # steps of the first rounds of walks; most texts end within them, and a loop costs less
_PATIENCE = 3.0  # seconds of the CPU for all walks, before anything is written


@dataclass(frozen=True)
class Table:
    """What a walk must know of a tokenizer's tokens."""

    tokenizer: "LLTokenizer"
    size: int
    ends: frozenset[int]
    end: int
    bytes_of: tuple[int, ...]  # tokens of a single byte, the most likely closers first
    by_text: dict[bytes, int]

    def text(self, tokens: list[int]) -> bytes:
        """The bytes of these tokens."""
        return bytes(self.tokenizer.decode_bytes(tokens)) if tokens else b""

    def openings(self, route: list[int]) -> list[int]:
        """The route's first token, all tokens that begin its text, and the single bytes that close most often."""
        text = self.text(route[:8])
        begins = (self.by_text.get(text[:length]) for length in range(1, min(len(text), 24) + 1))
        return list(dict.fromkeys([*route[:1], *(t for t in begins if t is not None), *self.bytes_of[: len(_FIRST)]]))

    def named(self, text: str) -> frozenset[int]:
        """The bytes of a text, as tokens; of a character that JSON escapes, its own bytes."""
        plain = _ESCAPED.sub(lambda escaped: str(json.loads(f'"{escaped[0]}"')), text)
        found = (self.by_text.get(bytes([byte])) for byte in set(plain.encode("utf-8", "replace")))
        return frozenset(token for token in found if token is not None)

    def candidates(self, mask: bytes) -> list[int]:
        """Allowed tokens worth trying, the most likely first."""
        singles = [t for t in self.bytes_of if mask[t >> 3] >> (t & 7) & 1]
        if singles:
            return singles
        bits = np.unpackbits(np.frombuffer(mask, dtype=np.uint8), count=self.size, bitorder="little")
        return [token for token in np.flatnonzero(bits).tolist() if token not in self.ends][:_ANY]


def table_of(tokenizer: "LLTokenizer") -> Table:
    """The table of a tokenizer, worked out in some 50 ms."""
    texts = [b"" if tokenizer.is_special_token(t) else tokenizer.decode_bytes([t]) for t in range(tokenizer.vocab_size)]
    by_text = {text: token for token, text in enumerate(texts) if text}
    singles = tuple(by_text[bytes([byte])] for byte in _BYTES if bytes([byte]) in by_text)
    return Table(tokenizer, len(texts), frozenset(tokenizer.eos_tokens), tokenizer.eos_token, singles, by_text)


def closes(parser: "LLMatcher", route: list[int], table: Table) -> bool:
    """Whether the text may end behind these tokens; the parser stays where it is."""
    if not route or parser.is_stopped():
        return not route and bool(parser.is_accepting())
    if len(route) > 2 and parser.validate_tokens(route[:2]) < 2:  # most do not even begin
        return False
    return int(parser.validate_tokens([*route, table.end])) == len(route) + 1


def retokenize(text: bytes, table: Table) -> list[int]:
    """The tokens that the tokenizer itself would make of the text."""
    return list(table.tokenizer.tokenize_bytes(text)) if text else []


def find_route(
    parser: "LLMatcher",
    table: Table,
    limit: int,
    steps: int,
    hints: frozenset[int] = frozenset(),
    patience: float = _PATIENCE,
) -> list[int] | None:
    """A route from where a parser stands, or None if none was found.

    The first walk always takes what is most likely to close. Of the others, every second takes what was taken least
    often in a place like this, and so leaves every loop and tries every branch; the rest roll dice. The first that is
    short enough is taken.

    Args:
        parser: stays where it is.
        table: of its tokenizer.
        limit: most tokens of the route.
        steps: most steps of one walk; all together have twelve times as many.
        hints: single bytes, as tokens, that the grammar names: of all that `[^a]+x` allows, x ends it.
        patience: see `_Patience`.
    """
    clock, most = _Patience(patience), min(steps, 4 * limit + 64)
    taken, left = Counter[tuple[bytes, int]](), _WALKS * steps
    for longest in (*(short for short in _SHORT if short < most), most):
        for number in range(_WALKS):
            dice = random.Random(number) if number % 2 else None  # noqa: S311 (a test must find the same again)
            walk = _Walk(parser, table, hints, taken if number else Counter(), dice)
            if walk.goes(min(longest, left), clock, bored=number > 0) and len(route := walk.route()) <= limit:
                return route
            left -= len(walk.steps)
    return None


class _Patience:
    """How long a search may take in a grammar whose masks are slow.

    What is written should not depend on what else the machine does. So this thread's own time counts, and its longest
    step does not: a garbage collection of Python's may fall into it, and take longer than all the others.

    Args:
        seconds: of this thread on the CPU.
    """

    def __init__(self, seconds: float) -> None:
        self._left, self._longest, self._last = seconds, 0.0, time.thread_time()

    def ends(self) -> bool:
        """Whether it is over. To be asked once in each step."""
        before, self._last = self._last, time.thread_time()
        shorter, self._longest = sorted((self._last - before, self._longest))
        self._left -= shorter
        return self._left < 0


class _Walk:
    """One way on from where a parser stands, until the text may end.

    Args:
        start, table, hints: as for `find_route`.
        taken: how often which token was taken under which mask, by this walk and others.
        dice: what decides instead, if given.
    """

    def __init__(
        self,
        start: "LLMatcher",
        table: Table,
        hints: frozenset[int],
        taken: Counter[tuple[bytes, int]],
        dice: random.Random | None,
    ) -> None:
        self._start, self._table, self._hints, self._taken, self._dice = start, table, hints, taken, dice
        self.steps: list[tuple[bytes, list[int]]] = []  # the mask at each place, and what was taken there

    def goes(self, steps: int, clock: _Patience, *, bored: bool) -> bool:
        """Walk; False if the text cannot end after so many steps, or when the patience is over."""
        parser = self._start.deep_copy()
        for _ in range(steps):
            if parser.is_accepting() or clock.ends():
                break
            mask, tokens = b"", list(parser.compute_ff_tokens())
            if not tokens:
                mask = bytes(parser.compute_bitmask())
                tokens = self._choose(mask, bored=bored)
            if not tokens or not parser.consume_tokens(tokens):
                return False
            self.steps.append((mask, tokens))
        return bool(parser.is_accepting())

    def route(self) -> list[int]:
        """The tokens of the walk without its detours, or of their text as the tokenizer would cut it: the shorter."""
        self._cut_loops()
        tokens = [token for _, each in self.steps for token in each]
        shorter = retokenize(self._table.text(tokens), self._table)
        return shorter if len(shorter) < len(tokens) and closes(self._start, shorter, self._table) else tokens

    def _choose(self, mask: bytes, *, bored: bool) -> list[int]:
        candidates = self._table.candidates(mask)
        if not candidates:
            return []
        if self._dice:
            last = self.steps[-1][1] if self.steps else []
            if last and last[0] in candidates and self._dice.random() < 0.5:  # what is counted is one thing many times
                return last[:1]
            named = [token for token in candidates if token in self._hints]
            return [self._dice.choice(named if named and self._dice.random() < 0.8 else candidates)]
        token = min(candidates, key=lambda token: self._taken[mask, token]) if bored else candidates[0]
        self._taken[mask, token] += 1
        return [token]

    def _cut_loops(self) -> None:
        """Leave out what lies between two places with the same mask, where the rest still ends the text."""
        attempts, at = _CUTS, 0
        while at < len(self.steps):
            mask = self.steps[at][0]
            for back in range(len(self.steps) - 1, at, -1):
                if not mask or self.steps[back][0] != mask or not attempts:
                    continue
                attempts -= 1
                shorter = self.steps[:at] + self.steps[back:]
                if closes(self._start, [token for _, each in shorter for token in each], self._table):
                    self.steps = shorter
                    break
            at += 1
