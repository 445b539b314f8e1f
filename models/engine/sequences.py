"""The sequences of the KV cache: which tokens each holds, whose it is, and where a new prompt starts.

A finished sequence is parked with its tokens, so that a later prompt with the same beginning need not evaluate it
again. Knows the cache only as something that can trim and copy; knows nothing of sampling or of batches.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Protocol


class Cache(Protocol):
    """What the pool needs of a llama.cpp context."""

    def trim(self, sequence: int, length: int) -> bool:
        """Forget a sequence's tokens from position `length` on; False if that is impossible."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Let an empty sequence share the first `length` tokens of another."""


_new_cells = count()


@dataclass(slots=True, eq=False)
class Sequence:
    """One sequence of the cache; `tokens` are those evaluated in it, `cells` where each of them lies."""

    id: int
    tokens: list[int] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)  # our own numbers: a copied sequence has the same ones
    reserved: int = 0  # tokens that its running request may come to need; 0 = not running
    last_used: int = 0
    keep: str = ""  # the name under which its state is kept on disk, once it is parked
    kept: int = 0  # how many of its tokens are that name's; those after them came from a request without one
    saved: int = 0  # how many of its tokens are on disk

    def extend(self, tokens: list[int]) -> None:
        """These were evaluated after the others."""
        self.tokens += tokens
        self.cells += islice(_new_cells, len(tokens))

    def cut(self, length: int) -> None:
        """Only the first `length` tokens are left."""
        del self.tokens[length:], self.cells[length:]
        self.kept, self.saved = min(self.kept, length), min(self.saved, length)


class SequencePool:
    """All sequences of one context.

    Args:
        cache: where sequences are trimmed and copied.
        n_sequences: how many there are.
        cells: tokens the cache can hold; one that several sequences share counts once.
        save: called with a parked sequence that has a `keep`, before it is emptied to make room.
        rewindable: False for recurrent models, whose state cannot be cut back to a prefix.
    """

    def __init__(
        self,
        cache: Cache,
        n_sequences: int,
        cells: int,
        save: "Callable[[Sequence], object]" = lambda _: None,
        *,
        rewindable: bool = True,
    ) -> None:
        self._cache, self._cells, self._save, self.rewindable = cache, cells, save, rewindable
        self._clock = count(1)
        self.all = [Sequence(i) for i in range(n_sequences)]

    @property
    def parked(self) -> list[Sequence]:
        """Sequences that no request runs in but that hold tokens, least recently used first."""
        return sorted((s for s in self.all if not s.reserved and s.tokens), key=lambda s: s.last_used)

    @property
    def cells_used(self) -> int:
        """Cells that hold a token."""
        return len(_union(self.all))

    def place(self, prompt: list[int], need: int, keep: str = "") -> tuple[Sequence, int] | None:
        """A sequence for a new request, holding as much of the prompt as any sequence of the cache does.

        At least the prompt's last token is left to evaluate, because its logits are needed.

        Args:
            prompt: the request's tokens.
            need: tokens the request may come to need, the prompt's included; at most the cache's.
            keep: the name of its conversation, if it has one.

        Returns:
            (sequence, tokens of the prompt that it holds), or None while running requests take the room.
        """
        running = [s for s in self.all if s.reserved]
        if len(running) == len(self.all):
            return None
        donor, length = self.longest(prompt, keep)
        held = _union(running)
        shared = len(held.intersection(donor.cells[:length])) if donor else 0
        if len(held) + _to_come(running) + need - shared > self._cells:
            return None
        # Nothing is lost where the donor holds no more than this, or another answer to this very prompt: but of another
        # conversation, which only began with the same question, that would be all the rest.
        again = donor is not None and donor.keep in ("", keep) and donor.tokens[: len(prompt)] == prompt
        spent = again or (donor is not None and length == len(donor.tokens))
        target = self._target(donor, length, spent=spent)
        if target is not donor:
            self._give_up(target)
            if donor and length:
                self._cache.copy(donor.id, target.id, length)
                target.tokens, target.cells = donor.tokens[:length], donor.cells[:length]
        else:
            if target.keep and not spent:
                self._save(target)
                length = min(length, len(target.tokens))  # what came from a request without a name is gone then
            length = length if self.trim(target, length) else 0
        target.reserved, target.last_used = need, next(self._clock)
        self.make_room()
        return target, length

    def make_room(self) -> None:
        """Drop parked sequences until all that run have their cells."""
        while self._free() < 0 and self.evict():
            pass

    def park(self, sequence: Sequence) -> None:
        """Keep a finished sequence's tokens until their cells are needed."""
        sequence.reserved, sequence.last_used = 0, next(self._clock)

    def drop(self, sequence: Sequence) -> None:
        """Empty a sequence, for good."""
        self._cache.trim(sequence.id, 0)
        sequence.cut(0)
        sequence.reserved, sequence.keep = 0, ""

    def rewind(self, sequence: Sequence) -> list[int]:
        """Make the cache agree with `tokens` again after a batch that was broken off.

        Returns:
            The tokens that were lost by it: none, or all of them if the model cannot be rewound.
        """
        tokens = list(sequence.tokens)
        # A recurrent state is written over in its place, also where the batch was of a sequence that shares it.
        kept = self.trim(sequence, len(tokens) if self.rewindable else 0) and self.rewindable
        return [] if kept else tokens

    def trim(self, sequence: Sequence, length: int) -> bool:
        """Cut a sequence back; False if the model cannot be cut back, and then the sequence is empty."""
        done = self._cache.trim(sequence.id, length)
        if not done:
            self._cache.trim(sequence.id, 0)
        sequence.cut(length if done else 0)
        return done

    def clear(self, sequence: Sequence, room: int) -> bool:
        """Empty a running sequence, so that `room` tokens can be loaded; False if there are no cells for them."""
        others = [s for s in self.all if s.reserved and s is not sequence]
        reserved, sequence.reserved = sequence.reserved, max(room, sequence.reserved)
        fits = len(_union(others)) + _to_come(others) + sequence.reserved <= self._cells
        if fits:
            self.trim(sequence, 0)
            self.make_room()
        sequence.reserved = reserved
        return fits

    def evict(self) -> bool:
        """Drop the least recently used parked sequence; False if there is none."""
        parked = self.parked
        if parked:
            self._give_up(parked[0])
        return bool(parked)

    def longest(self, prompt: list[int], keep: str = "") -> tuple[Sequence | None, int]:
        """The sequence that shares the longest beginning with the prompt, and that beginning's length.

        Of equals it is one of that name.
        """
        best: Sequence | None = None
        longest = 0
        for sequence in self.all:
            length = min(common_prefix(sequence.tokens, prompt), len(prompt) - 1)
            if not self.rewindable and (length < len(sequence.tokens) or sequence.reserved):
                continue
            if length > longest or (best and length == longest and sequence.keep == keep != best.keep):
                best, longest = sequence, length
        return best, longest

    def _target(self, donor: Sequence | None, length: int, *, spent: bool) -> Sequence:
        """Where the request will run: in the donor itself if it is spent; else an empty sequence, or the oldest.

        Also in a donor that is nobody's conversation, if it loses no more than the oldest would: of many requests that
        are made alike, each finds its own then, and not what the one before it has just given up.
        """
        idle = [s for s in self.all if not s.reserved]
        oldest = min(idle, key=lambda s: (bool(s.tokens), s.last_used))
        if donor is None or donor not in idle:
            return oldest
        return donor if spent or (not donor.keep and len(donor.tokens) - length <= self._own(oldest)) else oldest

    def _own(self, sequence: Sequence) -> int:
        """Tokens that no other sequence holds."""
        return len(set(sequence.cells) - _union(s for s in self.all if s is not sequence))

    def _give_up(self, sequence: Sequence) -> None:
        if sequence.keep:
            self._save(sequence)
        self.drop(sequence)

    def _free(self) -> int:
        """Cells that are neither used nor promised to a running request."""
        return self._cells - self.cells_used - _to_come(s for s in self.all if s.reserved)


def _union(sequences: Iterable[Sequence]) -> set[int]:
    return set().union(*(s.cells for s in sequences))


def _to_come(running: Iterable[Sequence]) -> int:
    """Tokens that running requests may still add."""
    return sum(max(0, s.reserved - len(s.tokens)) for s in running)


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
