"""The next token's logits, and what the sampler leaves of them: as scores, llama.cpp's draws and the book have it."""

import ctypes
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine_tools import GREEDY, NEAR, SMALL, Judge, ask, is_idle, wait_until
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phireside.errors import ContextOverflowError, EngineError, RequestError
from phireside.models.engine import Engine, Request, Sampling, sampling_stages
from phireside.models.engine.library import llama
from phireside.models.engine.sampler import Sampler

PREFIX = tuple(range(300, 340))
real = pytest.mark.real


def logprobs(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    precise = logits.astype(np.float64)
    return precise - precise.max() - np.log(np.exp(precise - precise.max()).sum())


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


# ---- the logits ----


@real
@pytest.mark.parametrize("n_batch", [7, 64])
def test_the_logits_are_those_that_scoring_each_token_finds(tiny_phi3: Path, judge: Judge, n_batch: int) -> None:
    with Engine(tiny_phi3, SMALL.model_copy(update={"n_batch": n_batch})) as engine:
        found = engine.next_tokens(PREFIX)
        assert found.logits is not None
        assert (found.scores, found.logits.shape) == ((), (engine.vocabulary.size,))
        tokens = [int(token) for token in np.argsort(-found.logits)[[0, 1, 2, 50, 500, 5000, -1]]]
        scores = engine.score(PREFIX, [(token,) for token in tokens])
    for token, score in zip(tokens, scores, strict=True):
        assert score.logprob == pytest.approx(logprobs(found.logits)[token], abs=NEAR)
        assert score.logprob == pytest.approx(judge.logprob(PREFIX, [token]), abs=NEAR)


@real
def test_the_prompt_is_read_once_and_shared_with_answers_and_scores(engine: Engine) -> None:
    assert engine.next_tokens(PREFIX).usage.evaluated_tokens == 40
    again = engine.next_tokens((*PREFIX, 700))
    assert (again.usage.cached_tokens, again.usage.evaluated_tokens, again.usage.generated_tokens) == (40, 1, 0)
    assert ask(engine, [*PREFIX, 700], max_tokens=1)[1].usage.cached_tokens == 40
    assert is_idle(engine)


@real
def test_the_best_token_is_the_greedy_answer_beside_others_that_write(engine: Engine, judge: Judge) -> None:
    prompts = [(*PREFIX[: 20 + n], 600 + n) for n in range(4)]
    answers = [engine.complete(Request(prompt, GREEDY, max_tokens=100)) for prompt in prompts]
    wait_until(lambda: engine.stats().running == 4)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(engine.next_tokens, prompts))
    for prompt, answer, next_token in zip(prompts, answers, found, strict=True):
        list(answer)
        assert answer.ended
        assert next_token.logits is not None
        assert judge.doubt(prompt, [int(next_token.logits.argmax())]) < NEAR
        assert judge.doubt(prompt, answer.ended.tokens) < NEAR


@real
def test_a_prompt_may_fill_the_context_and_no_more(engine: Engine) -> None:
    assert engine.next_tokens((300,) * 512).logits is not None
    with pytest.raises(ContextOverflowError, match="513"):
        engine.next_tokens((300,) * 513)


@real
@pytest.mark.parametrize("tokens", [(), (-1,), (32064,)])
def test_a_prompt_that_is_none_is_refused(engine: Engine, tokens: tuple[int, ...]) -> None:
    with pytest.raises(RequestError):
        engine.next_tokens(tokens)
    with pytest.raises(EngineError, match="longer than 0"):
        engine.next_tokens((5,), timeout=0)


@real
def test_a_recurrent_model_has_next_tokens_too(mamba: Path) -> None:
    with Engine(mamba, SMALL) as engine:
        found = [engine.next_tokens(range(10, 60)) for _ in range(2)]
        scores = engine.score(range(10, 60), [(70,), (80,)])
    for each in found:
        assert each.logits is not None
        assert logprobs(each.logits)[[70, 80]] == pytest.approx([score.logprob for score in scores], abs=NEAR)


# ---- the stages ----


def draws(logits: NDArray[np.float32], sampling: Sampling, count: int, before: tuple[int, ...] = ()) -> Counter[int]:
    """How often llama.cpp's chain draws each token."""
    lib, sampler, drawn = llama(), Sampler(len(logits), sampling, before), Counter[int]()
    for _ in range(count):
        data = (lib.llama_token_data * len(logits))(*[(i, float(logit), 0.0) for i, logit in enumerate(logits)])
        array = lib.llama_token_data_array(ctypes.cast(data, lib.llama_token_data_p), len(logits), -1, False)
        lib.llama_sampler_apply(sampler.pointer, ctypes.byref(array))
        drawn[array.data[array.selected].id] += 1
    sampler.close()
    return drawn


@real
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1, top_k=0, top_p=1, min_p=0, seed=1),
        Sampling(temperature=0.5, top_k=5, top_p=0.9, min_p=0.1, seed=2),
        Sampling(temperature=2, top_k=0, top_p=0.8, min_p=0, seed=3),
        Sampling(temperature=1.5, top_k=0, top_p=1, min_p=0.2, repeat_penalty=1.8, seed=4),
        Sampling(temperature=0, repeat_penalty=3),
        Sampling(temperature=0),
    ],
    ids=str,
)
def test_two_thousand_draws_fall_as_the_last_stage_says(sampling: Sampling) -> None:
    logits = (np.random.default_rng(5).normal(size=12) * 2).astype(np.float32)
    before = (int(logits.argmax()), 3)
    last = sampling_stages(logits, sampling, before)[-1]
    shares = dict(zip(last.tokens.tolist(), softmax(last.logits.astype(np.float64)), strict=True))
    drawn = draws(logits, sampling, 2000, before)
    assert drawn.keys() <= shares.keys(), "Nothing is drawn that was removed."
    for token, share in shares.items():
        bound = 4.5 * (2000 * share * (1 - share)) ** 0.5 + 1e-9
        assert abs(drawn[token] - 2000 * share) <= bound, (token, share, drawn[token])


@real
def test_the_engine_draws_what_the_stages_leave(tiny_phi3: Path) -> None:
    sampling = Sampling(temperature=0.7, top_k=6, top_p=0.95, min_p=0.1)
    with Engine(tiny_phi3, SMALL) as engine:
        logits = engine.next_tokens(PREFIX).logits
        assert logits is not None
        drawn = Counter[int]()
        for number in range(0, 2000, 50):
            request = Request(PREFIX, replace(sampling, seed=number), max_tokens=1)
            for answer in engine.fork(request, 50):
                list(answer)
                assert answer.ended
                drawn[answer.ended.tokens[0]] += 1
    last = sampling_stages(logits, sampling, PREFIX)[-1]
    shares = dict(zip(last.tokens.tolist(), softmax(last.logits.astype(np.float64)), strict=True))
    assert drawn.keys() <= shares.keys()
    for token, share in shares.items():
        assert abs(drawn[token] - 2000 * share) <= 4.5 * (2000 * share * (1 - share)) ** 0.5 + 1e-9


@real
@given(
    logits=st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=30, unique=True),
    top_k=st.integers(0, 12),
    top_p=st.floats(0.05, 1),
    min_p=st.floats(0, 0.9),
    temperature=st.floats(0.05, 5),
)
def test_each_stage_is_what_the_book_says(
    logits: list[float], top_k: int, top_p: float, min_p: float, temperature: float
) -> None:
    row = np.array(logits, np.float32)
    stages = sampling_stages(row, Sampling(temperature, top_k, top_p, min_p), ())
    order = np.argsort(-row, kind="stable")[: top_k or None]
    if top_k:
        assert set(stages.pop(0).tokens) == set(order)
    shares = softmax(row[order].astype(np.float64))
    sums = shares.cumsum()
    assume(np.abs(sums - top_p).min() > 1e-4)  # llama.cpp adds up in 32 bits
    assume(np.abs(shares / shares[0] - min_p).min() > 1e-4)
    order = order[: int((sums < top_p).sum()) + 1]
    after_top_p, after_min_p, after_temperature = stages
    assert [stage.name for stage in stages] == ["top-p", "min-p", "temp"]
    assert set(after_top_p.tokens) == set(order)
    order = order[row[order] - row[order[0]] >= np.log(min_p) if min_p else slice(None)]
    assert set(after_min_p.tokens) == set(after_temperature.tokens) == set(order)
    assert after_temperature.logits == pytest.approx(row[after_temperature.tokens] / temperature, rel=1e-4, abs=1e-4)


@real
def test_the_penalty_is_for_the_last_64_tokens() -> None:
    row = np.array([2.0, -2.0, 1.0, 0.5], np.float32)
    before = (2, *[3] * 62, 0, 1)  # the 2 is 65 tokens back
    first = sampling_stages(row, Sampling(repeat_penalty=2), before)[0]
    assert first.name == "penalties"
    assert dict(zip(first.tokens.tolist(), first.logits.tolist(), strict=True)) == {0: 1.0, 1: -4.0, 2: 1.0, 3: 0.25}
