"""The pool's lists always equal what is in the cache, prompts start where they can, and the cells never run out."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from phireside.models.engine.sequences import Sequence, SequencePool, common_prefix

CELLS = 40
prompts = st.lists(st.integers(0, 1), min_size=1, max_size=20) | st.lists(st.just(0), min_size=1, max_size=20)


class FakeCache:
    """llama.cpp's cache in a few lines: what each sequence holds; a copied cell belongs to both and counts once."""

    def __init__(self, rewindable: bool) -> None:
        self._rewindable = rewindable
        self.held: dict[int, list[tuple[object, int]]] = {}  # of each sequence: (cell, token)

    def tokens(self, sequence: int) -> list[int]:
        return [token for _, token in self.held.get(sequence, [])]

    @property
    def used(self) -> int:
        return len({id(cell) for held in self.held.values() for cell, _ in held})

    def evaluate(self, sequence: int, tokens: list[int]) -> None:
        self.held.setdefault(sequence, []).extend((object(), token) for token in tokens)

    def trim(self, sequence: int, length: int) -> bool:
        held = self.held.get(sequence, [])
        if not self._rewindable and 0 < length < len(held):
            return False
        del held[length:]
        return True

    def copy(self, source: int, target: int, length: int) -> None:
        assert not self.held.get(target), "llama.cpp would mix the two"
        assert self._rewindable, "a recurrent state has no prefixes"
        self.held[target] = self.held[source][:length]


class PoolMachine(RuleBasedStateMachine):
    """Requests come, are evaluated, broken off, end and are evicted, in any order."""

    @initialize(n_sequences=st.integers(1, 5), rewindable=st.booleans())
    def begin(self, n_sequences: int, rewindable: bool) -> None:
        self.rewindable = rewindable
        self.cache = FakeCache(rewindable)
        self.pool = SequencePool(self.cache, n_sequences, CELLS, rewindable=rewindable)
        self.running: dict[Sequence, list[int]] = {}  # and the tokens that each has yet to evaluate

    @rule(prompt=prompts, answer=st.integers(1, 12), again=st.booleans())
    def place(self, prompt: list[int], answer: int, again: bool) -> None:
        parked = self.pool.parked
        if again and parked:  # a conversation goes on
            prompt = [*parked[-1].tokens, *prompt][:CELLS]
        need = min(len(prompt) + answer, CELLS)
        longest, promised = self.longest_prefix(prompt), self.promised(prompt) + need
        others = {s: list(s.tokens) for s in self.running}
        placed = self.pool.place(prompt, need)
        if placed is None:
            assert promised > CELLS or len(self.running) == len(self.pool.all)
            return
        sequence, length = placed
        assert sequence not in self.running
        assert sequence.tokens == prompt[:length]
        assert length == longest <= len(prompt) - 1
        assert all(s.tokens == tokens for s, tokens in others.items())  # nobody who runs is disturbed
        self.running[sequence] = prompt[length:]

    def promised(self, prompt: list[int]) -> int:
        """Cells that running requests hold or may still take, less those that a new prompt would share with them."""
        held = {id(cell) for s in self.running for cell, _ in self.cache.held.get(s.id, [])}
        donor, length = self.pool.longest(prompt)
        shared = {id(cell) for cell, _ in self.cache.held[donor.id][:length]} & held if donor else set()
        return len(held) + sum(s.reserved - len(s.tokens) for s in self.running) - len(shared)

    def longest_prefix(self, prompt: list[int]) -> int:
        """The most of a prompt that can be had, worked out from the cache alone."""
        most = 0
        for sequence in self.pool.all:
            held = self.cache.tokens(sequence.id)
            length = next((i for i, (a, b) in enumerate(zip(held, prompt, strict=False)) if a != b), None)
            length = min(len(held) if length is None else length, len(prompt) - 1, len(held))
            if self.rewindable or (length == len(held) and sequence not in self.running):
                most = max(most, length)
        return most

    @precondition(lambda self: self.running)
    @rule(data=st.data(), count=st.integers(1, 30))
    def evaluate(self, data: st.DataObject, count: int) -> None:
        sequence = data.draw(st.sampled_from(list(self.running)))
        tokens = self.next_tokens(sequence, count)
        self.cache.evaluate(sequence.id, tokens)
        sequence.extend(tokens)
        del self.running[sequence][: len(tokens)]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), count=st.integers(0, 30))
    def break_off(self, data: st.DataObject, count: int) -> None:
        sequence = data.draw(st.sampled_from(list(self.running)))
        before = list(sequence.tokens)
        self.cache.evaluate(sequence.id, self.next_tokens(sequence, count))  # got so far, and nobody wrote it down
        lost = self.pool.rewind(sequence)
        assert lost + sequence.tokens == before
        assert not (lost and self.rewindable)
        self.running[sequence][:0] = lost

    def next_tokens(self, sequence: Sequence, count: int) -> list[int]:
        """What it evaluates next: its prompt, then what it writes, as far as it has reserved cells."""
        pending = self.running[sequence] or [1] * count
        return pending[: min(count, sequence.reserved - len(sequence.tokens))]

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def park(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(list(self.running)))
        del self.running[sequence]
        tokens = list(sequence.tokens)
        self.pool.park(sequence)
        assert sequence.tokens == tokens
        assert not tokens or self.pool.parked[-1] is sequence

    @rule()
    def evict(self) -> None:
        parked = self.pool.parked
        assert self.pool.evict() == bool(parked)
        assert self.pool.parked == parked[1:]

    @invariant()
    def lists_and_cache_agree(self) -> None:
        for sequence in self.pool.all:
            assert sequence.tokens == self.cache.tokens(sequence.id)

    @invariant()
    def cells_suffice(self) -> None:
        assert self.cache.used == self.pool.cells_used
        assert self.cache.used + sum(s.reserved - len(s.tokens) for s in self.running) <= CELLS
        assert {s for s in self.pool.all if s.reserved} == set(self.running)


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.fixture
def cache() -> FakeCache:
    return FakeCache(rewindable=True)


def run(pool: SequencePool, cache: FakeCache, prompt: list[int], need: int) -> tuple[Any, int]:
    """Place a prompt and evaluate it whole."""
    placed = pool.place(prompt, need)
    assert placed
    sequence, length = placed
    cache.evaluate(sequence.id, prompt[length:])
    sequence.extend(prompt[length:])
    return sequence, length


def test_a_prompt_shares_the_beginning_of_one_that_still_runs(cache: FakeCache) -> None:
    pool = SequencePool(cache, 4, 100)
    first, _ = run(pool, cache, [1, 2, 3, 4], 10)
    second, shared = run(pool, cache, [1, 2, 3, 9], 10)
    assert shared == 3
    assert second is not first
    assert cache.used == 5  # four of the first, and one more


def test_a_conversation_that_goes_on_takes_its_own_sequence(cache: FakeCache) -> None:
    pool = SequencePool(cache, 4, 100)
    first, _ = run(pool, cache, [1, 2, 3], 10)
    pool.park(first)
    second, shared = run(pool, cache, [1, 2, 3, 4, 5], 10)
    assert second is first
    assert shared == 3


def test_a_second_branch_leaves_the_first_one_parked_while_there_is_room(cache: FakeCache) -> None:
    pool = SequencePool(cache, 4, 100)
    first, _ = run(pool, cache, [1, 2, 3], 10)
    pool.park(first)
    second, _ = run(pool, cache, [1, 2, 9], 10)
    assert second is not first
    assert pool.parked == [first]


def test_the_same_prompt_again_takes_the_place_of_its_first_answer(cache: FakeCache) -> None:
    pool = SequencePool(cache, 4, 100)
    first, _ = run(pool, cache, [1, 2, 3, 7, 7, 7], 10)
    pool.park(first)
    again, shared = run(pool, cache, [1, 2, 3], 10)
    assert again is first
    assert shared == 2
    assert first.tokens == [1, 2, 3]


def test_requests_that_are_made_alike_find_each_its_own(cache: FakeCache) -> None:
    pool = SequencePool(cache, 2, 100)
    baker, clerk = [1, 1, 7, 7, 7], [1, 1, 8, 8, 8]
    parked = [run(pool, cache, [*each, 5, 5], 10)[0] for each in (baker, clerk)]
    for sequence in parked:
        pool.park(sequence)
    again = [run(pool, cache, [*each, 6, 6], 10) for each in (clerk, baker)]
    assert again == [(parked[1], 5), (parked[0], 5)]


@pytest.mark.parametrize(("tail", "keep"), [([7] * 20, ""), ([7] * 4, "a conversation")])
def test_one_that_would_lose_more_than_the_oldest_or_is_a_conversation_stays(
    cache: FakeCache, tail: list[int], keep: str
) -> None:
    pool = SequencePool(cache, 2, 100)
    oldest, _ = run(pool, cache, [2] * 10, 10)
    chat, _ = run(pool, cache, [1, 1, 1, *tail], 30)
    chat.keep = keep
    pool.park(oldest)
    pool.park(chat)
    assert run(pool, cache, [1, 1, 1, 9], 10) == (oldest, 3)
    assert pool.parked == [chat]
    assert chat.tokens == [1, 1, 1, *tail]


def test_the_least_recently_used_one_is_evicted_first(cache: FakeCache) -> None:
    pool = SequencePool(cache, 4, 30)
    old, _ = run(pool, cache, [1] * 10, 10)
    new, _ = run(pool, cache, [2] * 10, 10)
    pool.park(old)
    pool.park(new)
    run(pool, cache, [3] * 15, 15)
    assert pool.parked == [new]
    assert old.tokens == []


def test_a_request_waits_while_those_that_run_have_reserved_the_cells(cache: FakeCache) -> None:
    pool = SequencePool(cache, 4, 30)
    first, _ = run(pool, cache, [1, 2], 20)
    assert pool.place([3], 11) is None
    assert pool.place([3], 10) is not None
    pool.park(first)


def test_the_common_prefix_is_what_a_loop_would_find() -> None:
    for a, b in ([[], [1]], [[1], [1]], [[1, 2, 3], [1, 2, 4, 5]], [[2], [1]], [[1] * 50, [1] * 49 + [2]]):
        expected = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        assert common_prefix(a, b) == common_prefix(b, a) == expected
