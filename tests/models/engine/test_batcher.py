"""Batches that are broken off, refused or fail: every answer is the right one or an error, never another text.

A context made of paper takes llama.cpp's place. It knows only what its cache really holds: the token that follows is
a sum over that, so that a single cell too many, too few or in the wrong place gives another text.
"""

import random
from collections.abc import Sequence as Items
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phireside.errors import EngineError
from phireside.models.engine import Ended, Event, Failed, Request, Sampling, Text
from phireside.models.engine import batcher as module
from phireside.models.engine.batcher import Batcher
from phireside.models.engine.job import Job
from phireside.models.engine.native import ABORTED, NO_SLOT, BatchItem
from phireside.settings import EngineSettings

END, VOCABULARY = 0, 97
N_CTX = 64


def following(tokens: list[int]) -> int:
    """The paper model: the token after these."""
    return (7 * len(tokens) + sum(i * token for i, token in enumerate(tokens, 3))) % VOCABULARY


def alone(prompt: Items[int], limit: int) -> list[int]:
    """The answer that a request must get."""
    tokens = list(prompt)
    while len(tokens) - len(prompt) < limit and (token := following(tokens)) != END:
        tokens.append(token)
    return tokens[len(prompt) :]


class PaperContext:
    """What each sequence of the cache holds. `faults` says what the next batches come to."""

    def __init__(self, weights: Any, settings: EngineSettings, cells: int, _threads: object) -> None:
        self._recurrent, self._n_batch, self._cells = weights.recurrent, settings.n_batch, cells
        self._n_sequences = settings.n_sequences
        self.held: dict[int, list[tuple[object, int]]] = {}
        self.faults: list[int] = []
        self._rows: list[list[int]] = []
        self.chance = random.Random(0)

    def decode(self, items: Items[BatchItem]) -> int:
        assert 0 < len(items) <= self._n_batch
        fault = self.faults.pop(0) if self.faults else 0
        self._rows = []
        for item in items[: self.chance.randrange(len(items)) if fault not in (0, NO_SLOT) else None]:
            if fault == NO_SLOT:
                break
            held = self.held.setdefault(item.sequence, [])
            assert item.position == len(held), "llama.cpp would refuse the batch: positions must be consecutive"
            assert item.sequence < self._n_sequences
            held.append((object(), item.token))
            self._rows.append([token for _, token in held] if item.logits else [])
        assert len({id(cell) for held in self.held.values() for cell, _ in held}) <= self._cells
        if fault not in (0, ABORTED, NO_SLOT):
            raise EngineError("llama.cpp failed to evaluate a batch.")
        return fault

    def sample(self, _sampler: object, index: int) -> int:
        assert self._rows[index], "no logits were asked for"
        return following(self._rows[index])

    def trim(self, sequence: int, length: int) -> bool:
        held = self.held.get(sequence, [])
        if self._recurrent and 0 < length < len(held):
            return False
        del held[length:]
        return True

    def copy(self, source: int, target: int, length: int) -> None:
        assert not self.held.get(target)
        assert not self._recurrent
        self.held[target] = self.held[source][:length]

    def abort(self) -> None:
        self.faults.insert(0, ABORTED)

    def clear_abort(self) -> None:
        pass

    def close(self) -> None:
        pass


class PaperSampler:
    LOOK_BACK = 64
    open = 0

    def __init__(self, *_: object, **__: object) -> None:
        PaperSampler.open += 1

    def accept(self, tokens: object) -> None:
        pass

    def close(self) -> None:
        PaperSampler.open -= 1


class Listener:
    def __init__(self) -> None:
        self.text, self.end = "", None

    def __call__(self, event: Event) -> None:
        assert self.end is None, "an event after the last one"
        if isinstance(event, Text):
            self.text += event.text
        else:
            self.end: Ended | Failed | None = event


def paper_batcher(monkeypatch: pytest.MonkeyPatch, *, recurrent: bool = False, **options: Any) -> Batcher:
    weights = SimpleNamespace(recurrent=recurrent, kv_bytes_per_token=lambda _: 0.0, close=lambda: None)
    monkeypatch.setattr(module, "Weights", lambda *_: weights)
    monkeypatch.setattr(module, "Context", PaperContext)
    monkeypatch.setattr(module, "Sampler", PaperSampler)
    PaperSampler.open = 0
    vocabulary = SimpleNamespace(
        size=VOCABULARY, is_end=lambda token: token == END, piece=lambda token: chr(0x4E00 + token).encode()
    )
    chosen = EngineSettings(**{"n_sequences": 3, "n_batch": 16, "cache_tokens": 128, **options})
    return Batcher(Path(), vocabulary, chosen, N_CTX, (1, 1))  # type: ignore[arg-type]


def job_of(prompt: Items[int], limit: int) -> tuple[Job, Listener]:
    listener = Listener()
    request = Request(tuple(prompt), Sampling(temperature=0), limit)
    return Job(request, limit, listener, lambda: None), listener


def serve(batcher: Batcher, jobs: list[Job], cancels: dict[int, int] | None = None) -> None:
    """The engine's loop, with requests cancelled before the steps given."""
    waiting = list(jobs)
    for step in range(5000):
        for index in (i for i, at in (cancels or {}).items() if at == step):
            jobs[index].cancel()
        batcher.end_cancelled()
        while waiting and (waiting[0].cancelled or batcher.admit(waiting[0])):
            job = waiting.pop(0)
            if not job.running:
                job.end_unstarted()
        if not (waiting or batcher.running):
            return
        batcher.step()
        if batcher.running:
            check_lists(batcher)
    pytest.fail("the requests do not come to an end")


def check_lists(batcher: Batcher) -> None:
    for sequence in batcher.pool.all:
        held = batcher._context.held.get(sequence.id, [])  # type: ignore[attr-defined]
        assert sequence.tokens == [token for _, token in held]


def check_answer(job: Job, listener: Listener) -> None:
    expected = alone(job.request.tokens, job.limit)
    spelled = "".join(chr(0x4E00 + token) for token in expected)
    assert isinstance(listener.end, Ended)
    usage = listener.end.usage
    if job.cancelled and usage.finish_reason == "cancelled":
        assert spelled.startswith(listener.text)
    else:
        assert listener.text == spelled
        assert usage.finish_reason == ("length" if len(expected) == job.limit else "stop")
    assert usage.generated_tokens == len(listener.end.tokens) == len(listener.text)
    assert 0 <= usage.cached_tokens < len(job.request.tokens)
    assert 0 <= usage.evaluated_tokens <= usage.prompt_tokens - usage.cached_tokens


families = st.sampled_from([[5, 6, 7, 8] * 4, [5, 6, 7, 8, 9], [9, 8]])
prompts = st.builds(lambda head, tail: [*head, *tail], families, st.lists(st.integers(1, 3), max_size=24))
mixes = st.lists(st.tuples(prompts, st.integers(1, 20)), min_size=1, max_size=8)
faults = st.lists(st.sampled_from([0, 0, 0, ABORTED, NO_SLOT]), max_size=30)


@given(mixes, faults, st.dictionaries(st.integers(0, 7), st.integers(0, 20), max_size=3), st.booleans(), st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_answer_is_the_one_it_would_be_alone_whatever_happens_to_batches(
    monkeypatch: pytest.MonkeyPatch,
    mix: list[tuple[list[int], int]],
    faults: list[int],
    cancels: dict[int, int],
    recurrent: bool,
    data: st.DataObject,
) -> None:
    n_batch, n_sequences = data.draw(st.sampled_from([1, 2, 16, 64])), data.draw(st.integers(1, 5))
    batcher = paper_batcher(monkeypatch, recurrent=recurrent, n_batch=n_batch, n_sequences=n_sequences)
    batcher._context.faults = list(faults)  # type: ignore[attr-defined]
    work = [job_of(prompt, limit) for prompt, limit in mix]
    serve(batcher, [job for job, _ in work], {i: at for i, at in cancels.items() if i < len(work)})
    check_lists(batcher)
    for job, listener in work:
        if isinstance(listener.end, Failed):
            assert "KV cache" in str(listener.end.error)
            assert NO_SLOT in faults
        else:
            check_answer(job, listener)
    assert PaperSampler.open == 0
    assert not any(sequence.reserved for sequence in batcher.pool.all)


def test_a_batch_that_fails_fails_its_requests_and_empties_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = paper_batcher(monkeypatch)
    batcher._context.faults = [0, -3]  # type: ignore[attr-defined]
    work = [job_of([5, 6, tail], 10) for tail in (1, 2)]
    serve(batcher, [job for job, _ in work])
    assert all(isinstance(listener.end, Failed) for _, listener in work)
    assert not any(batcher._context.held.values())  # type: ignore[attr-defined]
    assert PaperSampler.open == 0
    job, listener = job_of([5, 6, 1], 10)
    serve(batcher, [job])
    check_answer(job, listener)


def test_a_full_cache_gives_up_what_is_parked_before_it_fails_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = paper_batcher(monkeypatch)
    for head in (1, 2):
        job, listener = job_of([head, head], 5)
        serve(batcher, [job])
        check_answer(job, listener)
    assert len(batcher.pool.parked) == 2
    batcher._context.faults = [NO_SLOT, NO_SLOT]  # type: ignore[attr-defined]
    job, listener = job_of([3, 3], 5)
    serve(batcher, [job])
    check_answer(job, listener)


def test_a_full_cache_with_nothing_parked_fails_the_newest_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = paper_batcher(monkeypatch)
    batcher._context.faults = [NO_SLOT]  # type: ignore[attr-defined]
    old, new = job_of([1, 1], 5), job_of([2, 2], 5)
    serve(batcher, [old[0], new[0]])
    check_answer(*old)
    assert isinstance(new[1].end, Failed)
    assert "KV cache of 128 tokens is full" in str(new[1].end.error)


def test_a_model_without_a_kv_cache_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert paper_batcher(monkeypatch, recurrent=True, cache_tokens=0).cells == 4 * N_CTX


def test_weights_are_freed_when_the_cache_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    freed = []
    weights = SimpleNamespace(recurrent=False, kv_bytes_per_token=lambda _: 1.0, close=lambda: freed.append(1))
    monkeypatch.setattr(module, "Weights", lambda *_: weights)
    monkeypatch.setattr(module, "Context", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        Batcher(Path(), SimpleNamespace(), EngineSettings(), N_CTX, (1, 1))  # type: ignore[arg-type]
    assert freed == [1]
