"""Batches that are broken off, refused or fail: every answer is the right one or an error, never another text.

A context made of paper takes llama.cpp's place. It knows only what its cache really holds: the token that follows is
a sum over that, so that a single cell too many, too few or in the wrong place gives another text.
"""

import random
from collections.abc import Sequence as Items
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phireside.errors import EngineError
from phireside.models.engine import (
    Ended,
    Event,
    Failed,
    Priority,
    Request,
    Sampling,
    Score,
    Scored,
    ScoreRequest,
    Text,
    writing,
)
from phireside.models.engine import batcher as module
from phireside.models.engine.batcher import Batcher
from phireside.models.engine.context import ABORTED, NO_SLOT, BatchItem
from phireside.models.engine.job import Job
from phireside.settings import EngineSettings

END, VOCABULARY = 0, 97
CIRCLE = [5, 6, 7, 8]
N_CTX = 64


def following(tokens: list[int]) -> int:
    """The paper model: the token after these. It often goes round in circles, so that guesses can be right."""
    mixed = 7 * len(tokens) + sum(i * token for i, token in enumerate(tokens, 3))
    if mixed % 8 == 0:
        return mixed // 8 % VOCABULARY
    return CIRCLE[CIRCLE.index(tokens[-1]) - 3] if tokens[-1] in CIRCLE else CIRCLE[0]


def logprob(tokens: list[int], token: int) -> float:
    """The paper model: how probable a token is after these."""
    return -((following(tokens) + 31 * token) % 50) / 8


class PaperMatcher:
    """A grammar that forces two tokens at the beginning, and up to three after every fourth token."""

    finished = hurried = False

    def __init__(self, limit: int) -> None:
        self._left, self._last, self._begun = limit, 0, False

    def forced(self) -> list[int]:
        forced = [] if self._begun and self._last % 4 else [(self._last * i + 2 * i) % 90 + 5 for i in (1, 3, 5)]
        return forced[: min(self._left, 3 if self._begun else 2)]

    def consume(self, tokens: Items[int]) -> None:
        self._begun, self._left = True, self._left - len(tokens)
        self._last = -1 if len(tokens) > 1 else tokens[-1]  # nothing is forced twice in a row
        assert self._left >= 0


def alone(prompt: Items[int], limit: int, matcher: PaperMatcher | None = None) -> list[int]:
    """The answer that a request must get."""
    tokens = list(prompt)

    def add(new: list[int]) -> None:
        if matcher and new:
            matcher.consume(new)
        tokens.extend(new)

    add(matcher.forced() if matcher else [])
    while len(tokens) - len(prompt) < limit and (token := following(tokens)) != END:
        add([token])
        add(matcher.forced() if matcher else [])
    return tokens[len(prompt) :]


class PaperContext:
    """What each sequence of the cache holds. `faults` says what the next batches come to."""

    def __init__(self, weights: Any, settings: EngineSettings, cells: int, sequences: int, _threads: object) -> None:
        self._recurrent, self._n_batch, self._cells = weights.recurrent, settings.n_batch, cells
        self._n_sequences = sequences
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

    def sample(self, _sampler: object, index: int, _matcher: object = None) -> int:
        assert self._rows[index], "no logits were asked for"
        return following(self._rows[index])

    def logprobs(self, index: int, tokens: Items[int]) -> Any:
        assert self._rows[index], "no logits were asked for"
        return np.array([logprob(self._rows[index], token) for token in tokens])

    def trim(self, sequence: int, length: int) -> bool:
        held = self.held.get(sequence, [])
        if self._recurrent and 0 < length < len(held):
            return False
        del held[length:]
        return True

    def copy(self, source: int, target: int, length: int) -> None:
        assert not self.held.get(target)
        assert not self._recurrent or length == len(self.held[source]), "a state cannot be cut back"
        self.held[target] = self.held[source][:length]

    def abort(self) -> None:
        self.faults.insert(0, ABORTED)

    def clear_abort(self) -> None:
        pass

    def close(self) -> None:
        pass


class PaperSampler:
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
            self.end: Ended | Scored | Failed | None = event


def paper_batcher(monkeypatch: pytest.MonkeyPatch, *, recurrent: bool = False, **options: Any) -> Batcher:
    weights = SimpleNamespace(recurrent=recurrent, kv_bytes_per_token=lambda _: 0.0, close=lambda: None)
    monkeypatch.setattr(module, "Weights", lambda *_: weights)
    monkeypatch.setattr(module, "Context", PaperContext)
    monkeypatch.setattr(writing, "Sampler", PaperSampler)
    PaperSampler.open = 0
    vocabulary = SimpleNamespace(
        size=VOCABULARY, is_end=lambda token: token == END, piece=lambda token: chr(0x4E00 + token).encode()
    )
    chosen = EngineSettings(**{"n_sequences": 3, "n_batch": 16, "cache_tokens": 128, **options})
    return Batcher(Path(), vocabulary, chosen, N_CTX, (1, 1))  # type: ignore[arg-type]


def job_of(
    prompt: Items[int], limit: int, *, grammar: bool = False, priority: Priority = Priority.PERSON
) -> tuple[Job, Listener]:
    listener = Listener()
    request = Request(tuple(prompt), Sampling(temperature=0), limit, priority=priority)
    matcher: Any = PaperMatcher(limit) if grammar else None
    return Job(request, limit, listener, lambda: None, matcher), listener


def score_of(prompt: Items[int], continuations: Items[Items[int]]) -> tuple[Job, Listener]:
    listener = Listener()
    request = ScoreRequest(tuple(prompt), tuple(map(tuple, continuations)))
    return Job(request, request.need, listener, lambda: None), listener


def serve(batcher: Batcher, jobs: list[Job], cancels: dict[int, int] | None = None) -> None:
    """The engine's loop, with requests cancelled before the steps given."""
    waiting = list(jobs)
    for step in range(5000):
        for index in (i for i, at in (cancels or {}).items() if at == step):
            jobs[index].cancel()
        batcher.end_cancelled()
        while waiting and (waiting[0].cancelled or (not batcher.must_wait(waiting[0]) and batcher.admit(waiting[0]))):
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
    if isinstance(job.request, ScoreRequest):
        check_scores(job, job.request, listener)
        return
    expected = alone(job.request.tokens, job.limit, PaperMatcher(job.limit) if job.matcher else None)  # type: ignore[arg-type]
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
    assert 0 <= usage.accepted_tokens <= min(usage.drafted_tokens, usage.generated_tokens)
    assert 0 <= usage.forced_tokens <= (usage.generated_tokens if job.running else 0) + 2


def check_scores(job: Job, request: ScoreRequest, listener: Listener) -> None:
    if not isinstance(listener.end, Scored):  # cancelled before it ran
        assert isinstance(listener.end, Ended)
        assert job.cancelled
        return
    usage = listener.end.usage
    if usage.finish_reason == "cancelled":
        assert listener.end.scores == ()
    else:
        for continuation, score in zip(request.continuations, listener.end.scores, strict=True):
            tokens = [*request.tokens, *continuation]
            expected = sum(logprob(tokens[:at], tokens[at]) for at in range(len(request.tokens), len(tokens)))
            assert score == Score(pytest.approx(expected), len(continuation))
    assert 0 <= usage.evaluated_tokens <= usage.prompt_tokens - usage.cached_tokens


families = st.sampled_from([[5, 6, 7, 8] * 4, [5, 6, 7, 8, 9], [9, 8]])
prompts = st.builds(lambda head, tail: [*head, *tail], families, st.lists(st.integers(1, 3), max_size=24))
continuations = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=1, max_size=12)
jobs = st.builds(job_of, prompts, st.integers(1, 20), grammar=st.booleans()) | st.builds(
    score_of, prompts, continuations
)
mixes = st.lists(jobs, min_size=1, max_size=8)
faults = st.lists(st.sampled_from([0, 0, 0, ABORTED, NO_SLOT]), max_size=30)


@given(mixes, faults, st.dictionaries(st.integers(0, 7), st.integers(0, 20), max_size=3), st.booleans(), st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_answer_is_the_one_it_would_be_alone_whatever_happens_to_batches(
    monkeypatch: pytest.MonkeyPatch,
    work: list[tuple[Job, Listener]],
    faults: list[int],
    cancels: dict[int, int],
    recurrent: bool,
    data: st.DataObject,
) -> None:
    n_batch, n_sequences = data.draw(st.sampled_from([1, 2, 16, 64])), data.draw(st.integers(1, 5))
    sizes = {"n_batch": n_batch, "n_sequences": n_sequences, "draft_tokens": data.draw(st.sampled_from([0, 1, 5]))}
    batcher = paper_batcher(monkeypatch, recurrent=recurrent, **sizes)
    batcher._context.faults = list(faults)  # type: ignore[attr-defined]
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
    assert not any(batcher._context.held.get(branch) for branch in batcher._branches)  # type: ignore[attr-defined]


@pytest.mark.parametrize("n_batch", [1, 2, 5, 16])
@pytest.mark.parametrize("recurrent", [False, True])
def test_an_answer_is_right_wherever_a_batch_is_broken_off(
    monkeypatch: pytest.MonkeyPatch, n_batch: int, recurrent: bool
) -> None:
    accepted = 0
    for at, others in product(range(30), (False, True)):
        batcher = paper_batcher(monkeypatch, n_batch=n_batch, recurrent=recurrent, draft_tokens=4)
        batcher._context.faults = [*[0] * at, ABORTED]  # type: ignore[attr-defined]
        work = [
            score_of([1, 2, 3], [[4, 5, 6, 7], [4, 5], [8, 9, 10, 11, 12]]),
            job_of([5, 6, 7, 8, 5, 6, 7], 18),
            job_of([9, 5, 6, 7, 8, 5, 6, 7], 18, grammar=True),
        ]
        work = work if others else work[at % 3 :][:1]
        serve(batcher, [job for job, _ in work])
        for job, listener in work:
            check_answer(job, listener)
            accepted += listener.end.usage.accepted_tokens  # type: ignore[union-attr]
    assert (accepted > 0) == (n_batch > 1 and not recurrent)


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


# ---- who had better wait ----

LONG = list(range(1, 40))


def reading(monkeypatch: pytest.MonkeyPatch, priority: Priority, **options: Any) -> Batcher:
    """Somebody has read 16 tokens of LONG."""
    batcher = paper_batcher(monkeypatch, **options)
    assert batcher.admit(job_of(LONG, 5, priority=priority)[0])
    batcher.step()
    return batcher


@pytest.mark.parametrize(("reader", "waits"), [(Priority.PERSON, True), (Priority.BACKGROUND, False)])
def test_a_person_waits_for_another_who_reads_the_same_and_never_for_background_work(
    monkeypatch: pytest.MonkeyPatch, reader: Priority, waits: bool
) -> None:
    batcher = reading(monkeypatch, reader)
    assert batcher.must_wait(job_of([*LONG, 50], 5)[0]) == waits
    assert batcher.must_wait(job_of([*LONG, 50], 5, priority=Priority.BACKGROUND)[0])
    assert not batcher.must_wait(job_of([50, *LONG], 5)[0])
    assert not batcher.must_wait(job_of(LONG[:30], 5)[0])  # 13 tokens are not worth it
    for _ in range(2):
        batcher.step()
    assert not batcher.must_wait(job_of([*LONG, 50], 5)[0])  # it is read


def test_nobody_waits_where_nothing_can_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = reading(monkeypatch, Priority.PERSON, recurrent=True)
    assert not batcher.must_wait(job_of([*LONG, 50], 5)[0])


def test_scores_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = paper_batcher(monkeypatch)
    one, two = score_of([1, 2, 3], [[4, 5], [6]]), score_of([7, 8], [[4]])
    assert batcher.admit(one[0])
    assert batcher.must_wait(two[0])
    assert not batcher.must_wait(job_of([7, 8], 5)[0])
    serve(batcher, [two[0]])
    check_answer(*one)
    check_answer(*two)
