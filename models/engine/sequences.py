"""The sequences of the KV cache: which tokens each holds, whose it is, and where a new prompt starts.

A finished sequence is parked with its tokens, so that a later prompt with the same beginning need not evaluate it
again. Knows the cache only as something that can trim and copy; knows nothing of sampling or of batches.
"""

from dataclasses import dataclass, field
from itertools import count
from typing import Protocol


class Cache(Protocol):
    """What the pool needs of a llama.cpp context."""

    def trim(self, sequence: int, length: int) -> bool:
        """Forget a sequence's tokens from position `length` on; False if that is impossible."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Let an empty sequence share the first `length` tokens of another."""


@dataclass(slots=True, eq=False)
class Sequence:
    """One sequence of the cache; `tokens` are those evaluated in it."""

    id: int
    tokens: list[int] = field(default_factory=list)
    reserved: int = 0  # cells that its running request may come to need; 0 = not running
    last_used: int = 0

    @property
    def cells(self) -> int:
        """Cells it takes, or may come to take. Cells shared with another sequence count for both."""
        return max(self.reserved, len(self.tokens))


class SequencePool:
    """All sequences of one context.

    Args:
        cache: where sequences are trimmed and copied.
        n_sequences: how many there are.
        cells: tokens the cache can hold.
        rewindable: False for recurrent models, whose state cannot be cut back to a prefix.
    """

    def __init__(self, cache: Cache, n_sequences: int, cells: int, *, rewindable: bool = True) -> None:
        self._cache, self._cells, self._rewindable = cache, cells, rewindable
        self._clock = count(1)
        self.all = [Sequence(i) for i in range(n_sequences)]

    @property
    def parked(self) -> list[Sequence]:
        """Sequences that no request runs in but that hold tokens, least recently used first."""
        return sorted((s for s in self.all if not s.reserved and s.tokens), key=lambda s: s.last_used)

    def place(self, prompt: list[int], need: int) -> tuple[Sequence, int] | None:
        """A sequence for a new request, holding as much of the prompt as any sequence of the cache does.

        At least the prompt's last token is left to evaluate, because its logits are needed.

        Args:
            prompt: the request's tokens.
            need: cells the request may come to need, the prompt's included; at most the cache's.

        Returns:
            (sequence, tokens of the prompt that it holds), or None while running requests take the room.
        """
        if need > self._cells - sum(s.reserved for s in self.all) or all(s.reserved for s in self.all):
            return None
        donor, length = self._best(prompt)
        # Nothing is lost where the donor holds no more than this, or only another answer to this very prompt.
        spent = donor is not None and (length == len(donor.tokens) or donor.tokens[: len(prompt)] == prompt)
        target = self._target(donor, need, spent=spent)
        if target is not donor:
            self.drop(target)
            if donor and length:
                self._cache.copy(donor.id, target.id, length)
                target.tokens = donor.tokens[:length]
        elif not self._trim(target, length):
            length = 0
        target.reserved, target.last_used = need, next(self._clock)
        while sum(s.cells for s in self.all) > self._cells and self.evict():
            pass
        return target, length

    def park(self, sequence: Sequence) -> None:
        """Keep a finished sequence's tokens until their cells are needed."""
        sequence.reserved, sequence.last_used = 0, next(self._clock)

    def drop(self, sequence: Sequence) -> None:
        """Empty a sequence."""
        self._cache.trim(sequence.id, 0)
        sequence.tokens, sequence.reserved = [], 0

    def rewind(self, sequence: Sequence) -> list[int]:
        """Make the cache agree with `tokens` again after a batch that was broken off.

        Returns:
            The tokens that were lost by it: none, or all of them if the model cannot be rewound.
        """
        tokens = list(sequence.tokens)
        return [] if self._trim(sequence, len(tokens)) else tokens

    def evict(self) -> bool:
        """Drop the least recently used parked sequence; False if there is none."""
        parked = self.parked
        if parked:
            self.drop(parked[0])
        return bool(parked)

    def _best(self, prompt: list[int]) -> tuple[Sequence | None, int]:
        """The sequence that shares the longest beginning with the prompt, and that beginning's length."""
        best: Sequence | None = None
        longest = 0
        for sequence in self.all:
            length = min(common_prefix(sequence.tokens, prompt), len(prompt) - 1)
            if not self._rewindable and (length < len(sequence.tokens) or sequence.reserved):
                continue
            if length > longest:
                best, longest = sequence, length
        return best, longest

    def _target(self, donor: Sequence | None, need: int, *, spent: bool) -> Sequence:
        """Where the request will run: the donor itself if it is spent or all else is full, else a free sequence."""
        if donor and not donor.reserved and spent:
            return donor
        others = [s for s in self.all if not s.reserved and s is not donor]
        fits = need + sum(s.cells for s in self.all) <= self._cells
        if donor and not donor.reserved and not (fits and any(not s.tokens for s in others)):
            return donor
        return min(others, key=lambda s: (bool(s.tokens), s.last_used))

    def _trim(self, sequence: Sequence, length: int) -> bool:
        if self._cache.trim(sequence.id, length):
            del sequence.tokens[length:]
            return True
        self._cache.trim(sequence.id, 0)
        sequence.tokens = []
        return False


def common_prefix(a: list[int], b: list[int]) -> int:
    """How many leading tokens two lists have in common."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # by halves: comparing slices is a hundred times faster than a loop over tokens
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
