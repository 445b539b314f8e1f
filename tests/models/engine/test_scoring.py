"""Probabilities of continuations: as llama.cpp alone works them out, however they are put into batches and waves."""

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from engine_tools import GREEDY, NEAR, SMALL, Judge, ask, begin_scores, is_idle, wait_until
from hypothesis import given
from hypothesis import strategies as st

from phireside.errors import ContextOverflowError, EngineBusyError, EngineClosedError, EngineError, RequestError
from phireside.models.engine import Engine, Priority, Request, Score, Scored
from phireside.models.engine.scoring import plan_waves
from phireside.settings import EngineSettings

PREFIX = tuple(range(300, 340))
real = pytest.mark.real


def some(count: int, longest: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Continuations of one to `longest` tokens, all alike for the same seed."""
    chance = random.Random(seed)
    return [tuple(chance.choices(range(300, 2000), k=chance.randint(1, longest))) for _ in range(count)]


def check(
    judge: Judge, scores: Sequence[Score], continuations: Sequence[Sequence[int]], prefix: Sequence[int] = PREFIX
) -> None:
    assert [score.tokens for score in scores] == list(map(len, continuations))
    for score, continuation in zip(scores, continuations, strict=True):
        assert score.logprob == pytest.approx(judge.logprob(prefix, continuation), abs=NEAR * len(continuation))
        assert score.mean == pytest.approx(score.logprob / len(continuation))


def ask_scores(engine: Engine, continuations: Sequence[tuple[int, ...]]) -> Scored:
    """Scores with the figures of their request."""
    _, heard = begin_scores(engine, PREFIX, continuations)
    scored = heard.result(60)
    assert isinstance(scored, Scored)
    return scored


# ---- the right numbers ----


@real
@pytest.mark.parametrize(
    "continuations",
    [
        [(700,)],
        [(700,), (701,), (5,)],
        [(700, 701), (700,), (700, 701, 702)],
        [(700, 701)] * 3,
        some(10, 12),
        some(150, 3),  # more than there are branches
        some(9, 30),  # more tokens in a wave than a batch has
        [tuple(range(500, 600)), (700,), tuple(range(500, 640))],  # each alone more than a batch
        [(700,)] * 70 + some(5, 5) + [(701,)] * 70,  # whole waves of nothing but first tokens
    ],
    ids=["one", "tokens", "nested", "alike", "some", "many", "long", "longer than a batch", "single tokens"],
)
def test_scores_are_the_sums_of_what_llama_cpp_alone_finds(
    engine: Engine, judge: Judge, continuations: list[tuple[int, ...]]
) -> None:
    check(judge, engine.score(PREFIX, continuations), continuations)
    check(judge, engine.score(PREFIX, continuations), continuations)  # and again, with the prefix in the cache


@real
@pytest.mark.parametrize("n_batch", [1, 7])
def test_the_smallest_batches_give_the_same_scores(tiny_phi3: Path, judge: Judge, n_batch: int) -> None:
    continuations = [*some(70, 3), tuple(range(500, 520))]
    with Engine(tiny_phi3, SMALL.model_copy(update={"n_batch": n_batch})) as engine:
        check(judge, engine.score(PREFIX, continuations), continuations)


@real
def test_nothing_to_score_is_no_work(engine: Engine) -> None:
    assert engine.score(PREFIX, []) == []
    assert engine.stats().state == "unloaded"


@real
@pytest.mark.parametrize("length", [1, 3])
def test_a_prefix_may_leave_only_room_for_the_continuations(engine: Engine, judge: Judge, length: int) -> None:
    prefix = tuple(300 + i % 50 for i in range(512 - length))
    continuations = [tuple(range(700 + i, 700 + i + length)) for i in range(5)]
    check(judge, engine.score(prefix, continuations), continuations, prefix)
    with pytest.raises(ContextOverflowError, match=str(513 - length)):
        engine.score((*prefix, 5), continuations)


@real
def test_a_prefix_of_one_token_is_enough(engine: Engine, judge: Judge) -> None:
    check(judge, engine.score((300,), [(700, 701), (5,)]), [(700, 701), (5,)], (300,))


@real
def test_the_prefix_is_read_once_and_stays_for_the_next(engine: Engine, judge: Judge) -> None:
    first, second = ask_scores(engine, some(80, 3)), ask_scores(engine, some(10, 9, seed=1))
    assert (first.usage.cached_tokens, first.usage.evaluated_tokens) == (0, 40)
    assert (second.usage.cached_tokens, second.usage.evaluated_tokens) == (39, 1)
    check(judge, second.scores, some(10, 9, seed=1))
    _, ended = ask(engine, [*PREFIX, 700], max_tokens=4)
    assert ended.usage.cached_tokens == 40
    assert engine.stats().cells_used == 44  # the branches are gone: nothing but prefix and answer


@real
def test_a_score_compares_by_the_mean_of_its_tokens() -> None:
    assert Score(-6.0, 3).mean == -2.0


# ---- in company ----


@real
def test_parked_conversations_stay_while_there_are_cells(engine: Engine) -> None:
    for head in range(6):  # as many as there are sequences: scoring takes the place of the oldest one at most
        ask(engine, [(800 + head)] * 20, max_tokens=5)
    engine.score((800,) * 20, some(100, 4))
    cached = [ask(engine, [(800 + head)] * 20, max_tokens=5)[1].usage.cached_tokens for head in range(6)]
    assert cached == [19] * 6


@real
def test_answers_that_are_written_meanwhile_do_not_change(engine: Engine, judge: Judge) -> None:
    prompts = [(*PREFIX[: 20 + n], 600 + n) for n in range(4)]
    answers = [engine.complete(Request(prompt, GREEDY, max_tokens=150)) for prompt in prompts]
    wait_until(lambda: engine.stats().running == 4)
    for seed in range(6):
        continuations = some(30, 6, seed)
        check(judge, engine.score(PREFIX, continuations), continuations)
    for prompt, answer in zip(prompts, answers, strict=True):
        text = "".join(answer)
        assert answer.ended
        assert text == judge.text(answer.ended.tokens)
        assert judge.doubt(prompt, answer.ended.tokens) < NEAR


@real
@pytest.mark.parametrize("recurrent", [False, True])
def test_scores_are_right_though_others_are_cancelled_all_the_time(
    tiny_phi3: Path, mamba: Path, recurrent: bool
) -> None:
    path = mamba if recurrent else tiny_phi3
    prefix, continuations = tuple(range(40, 140)), [tuple(range(60 + i, 75 + i)) for i in range(20)]
    with Engine(path, SMALL.model_copy(update={"n_batch": 16})) as engine:
        alone = engine.score(prefix, continuations)
        stopped, chance = threading.Event(), random.Random(0)

        def disturb() -> None:
            number = 0
            while not stopped.is_set():
                number += 1
                other = engine.complete(Request((260 + number % 7,) * 60, GREEDY, max_tokens=50))
                time.sleep(chance.uniform(0, 0.003))
                other.cancel()
                list(other)

        thread = threading.Thread(target=disturb)
        thread.start()
        try:
            for number in range(8):
                if number % 2:  # so that the prefix is read again
                    engine.score((200 + number, *prefix[1:]), continuations)
                for one, other in zip(alone, engine.score(prefix, continuations), strict=True):
                    assert other.logprob == pytest.approx(one.logprob, abs=NEAR * one.tokens)
        finally:
            stopped.set()
            thread.join()
        wait_until(lambda: is_idle(engine))


@real
def test_many_scores_at_once_take_turns(engine: Engine, judge: Judge) -> None:
    jobs = [((*PREFIX[: 10 + n], 900 + n), some(20, 5, n)) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        scored = list(pool.map(lambda job: engine.score(*job), jobs))
    for (prefix, continuations), scores in zip(jobs, scored, strict=True):
        check(judge, scores, continuations, prefix)


@real
def test_scores_are_given_while_other_answers_take_all_cells_but_those_needed(tiny_phi3: Path, judge: Judge) -> None:
    settings = SMALL.model_copy(update={"cache_tokens": 512, "n_ctx": 512})
    with Engine(tiny_phi3, settings) as engine:
        writer = engine.complete(Request(PREFIX, GREEDY, max_tokens=400))  # 72 cells are left
        next(iter(writer))
        fits = some(40, 4)  # in waves of at most 64 tokens
        scores = engine.score((300, 301), fits)
        check(judge, scores, fits, (300, 301))
        text = "".join(writer)
        assert writer.ended
        assert judge.text(writer.ended.tokens).endswith(text)
        assert judge.doubt(PREFIX, writer.ended.tokens) < NEAR


# ---- recurrent models ----


@real
def test_a_recurrent_model_scores_every_continuation_from_the_prefix(mamba: Path) -> None:
    settings = EngineSettings(n_ctx=512, n_batch=32, n_sequences=4, n_threads=1, n_threads_batch=1)
    prefix, continuations = tuple(range(10, 60)), [tuple(range(70 + i, 71 + i + i % 5)) for i in range(20)]
    judge = Judge(mamba, longest=128, base=settings)
    with Engine(mamba, settings) as engine:
        for _ in range(2):
            check(judge, engine.score(prefix, continuations), continuations, prefix)
        assert ask(engine, prefix)[0] == judge.text(judge.greedy(prefix, 16))
    judge.close()


# ---- refused ----


@real
@pytest.mark.parametrize(
    ("prefix", "continuations", "message"),
    [
        ((), [(5,)], "prefix is empty"),
        ((5,), [(5,), ()], "Continuation 2 is empty"),
        ((5,), [(-1,)], "not a token"),
        ((5,), [("a",)], "not a token"),
        ((40_000,), [(5,)], "token 40000"),
        ((5,), [(5,), (5, 32064)], "token 32064"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_any_work(
    engine: Engine, prefix: tuple[int, ...], continuations: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        engine.score(prefix, continuations)
    assert engine.stats().state == "unloaded"


@real
def test_what_is_too_long_is_refused_with_the_numbers(engine: Engine) -> None:
    with pytest.raises(ContextOverflowError, match=r"40 tokens.* 473 .* 513, .* 512"):
        engine.score(PREFIX, [(5,), (5,) * 473])
    assert engine.stats().state == "unloaded"


@real
def test_a_score_waits_in_the_queue_like_anybody(tiny_phi3: Path) -> None:
    engine = Engine(tiny_phi3, SMALL.model_copy(update={"max_waiting": 1, "n_sequences": 1}))
    running = engine.complete(Request(PREFIX, GREEDY, max_tokens=450))
    next(iter(running))
    waiting = engine.complete(Request((5,), GREEDY, 5, priority=Priority.BACKGROUND))
    with pytest.raises(EngineBusyError, match="1 requests"):
        engine.score(PREFIX, [(5,)])
    waiting.cancel()
    wait_until(lambda: engine.stats().waiting == 0)
    with ThreadPoolExecutor(1) as pool:
        score = pool.submit(engine.score, PREFIX, [(5,)])
        wait_until(lambda: engine.stats().waiting == 1)
        engine.close()
        with pytest.raises(EngineClosedError):
            score.result(60)
    with pytest.raises(EngineClosedError):
        engine.score(PREFIX, [(5,)])


# ---- waves ----


lengths = st.lists(st.integers(1, 12), min_size=1, max_size=60)


@given(lengths, st.integers(1, 9), st.integers(1, 20))
def test_waves_hold_each_continuation_once_in_order_and_no_more_than_they_may(
    lengths: list[int], branches: int, tokens: int
) -> None:
    waves, largest = plan_waves([[0] * length for length in lengths], branches, tokens)
    assert [number for wave in waves for number in wave] == list(range(len(lengths)))
    sizes = [sum(lengths[number] - 1 for number in wave) for wave in waves]
    assert largest == max(sizes)
    for wave, size in zip(waves, sizes, strict=True):
        assert 0 < len(wave) <= branches
        assert size <= tokens or len(wave) == 1


@given(lengths, st.integers(1, 9), st.integers(1, 20))
def test_no_wave_ends_early(lengths: list[int], branches: int, tokens: int) -> None:
    waves, _ = plan_waves([[0] * length for length in lengths], branches, tokens)
    for wave in waves[:-1]:
        size = sum(lengths[number] - 1 for number in range(wave.start, wave.stop + 1))
        assert len(wave) == branches or size > tokens


def test_scores_that_take_too_long_are_given_up(engine: Engine) -> None:
    with pytest.raises(EngineError, match="longer than 0"):
        engine.score((300, 301, 302), [(1, 2), (3,)], timeout=0)
    wait_until(lambda: is_idle(engine))
    assert len(engine.score((300, 301, 302), [(1, 2), (3,)], timeout=60)) == 2
