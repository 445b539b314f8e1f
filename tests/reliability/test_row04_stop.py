"""Row 4: stop, while a prompt that fills the context is read, and while an answer is written.

The engine is idle within a batch, and what was written so far is kept and marked.
"""

import random
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from engine_tools import GREEDY, NEAR, Judge, ask, begin_scores, is_idle, wait_until

from phireside.models.engine import Engine, Request, Scored
from phireside.models.grammar import Grammar
from phireside.settings import EngineSettings

pytestmark = pytest.mark.real

N_CTX, N_BATCH = 1024, 128


@pytest.fixture
def engine(starter_path: Path) -> Iterator[Engine]:
    with Engine(starter_path, EngineSettings(n_ctx=N_CTX, n_batch=N_BATCH)) as engine:
        engine.load()
        yield engine


def stop(engine: Engine, cancel: Callable[[], None]) -> tuple[float, int]:
    """(seconds until the engine is idle, tokens evaluated after the stop)."""
    began = time.monotonic()
    cancel()
    before = engine.stats().cells_used
    wait_until(lambda: is_idle(engine))
    return time.monotonic() - began, max(0, engine.stats().cells_used - before)


def stop_while_reading(engine: Engine, chance: random.Random) -> tuple[float, int]:
    """A new prompt each time, which fills the context but for one token."""
    prompt = tuple(chance.randrange(300, 40_000) for _ in range(N_CTX - 1))
    answer = engine.complete(Request(prompt, GREEDY, max_tokens=1))
    wait_until(lambda: engine.stats().running)
    reached = chance.randrange(N_CTX - 3 * N_BATCH)
    wait_until(lambda: engine.stats().cells_used >= reached)
    seconds, tokens = stop(engine, answer.cancel)
    assert list(answer) == []
    assert answer.usage
    assert answer.usage.finish_reason == "cancelled"
    assert answer.usage.generated_tokens == 0
    assert answer.usage.evaluated_tokens < len(prompt)
    return seconds, tokens


def stop_while_writing(
    engine: Engine, chance: random.Random, judge: Judge, prompt: tuple[int, ...]
) -> tuple[float, int]:
    answer = engine.complete(Request(prompt, GREEDY, max_tokens=200))
    begun = list(islice(answer, chance.randrange(1, 20)))
    seconds, tokens = stop(engine, answer.cancel)
    text = "".join([*begun, *answer])
    assert answer.ended
    assert answer.ended.usage.finish_reason == "cancelled"  # kept and marked
    assert text == judge.text(answer.ended.tokens)
    assert judge.doubt(prompt, answer.ended.tokens) < NEAR
    return seconds, tokens


@pytest.mark.parametrize("times", [5, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_the_engine_is_idle_within_a_batch_of_the_stop(
    engine: Engine, starter_path: Path, figure: Callable[[int, str], None], times: int
) -> None:
    chance, judge = random.Random(4), Judge(starter_path, longest=256)
    prompt = tuple(engine.vocabulary.tokenize("Once upon a time there was a lighthouse", markers=False))
    reading = [stop_while_reading(engine, chance) for _ in range(times)]
    writing = [stop_while_writing(engine, chance, judge, prompt) for _ in range(times)]
    for name, stops, most in (("a prompt read", reading, N_BATCH), ("an answer written", writing, 1)):
        seconds = sorted(1000 * second for second, _ in stops)
        tokens = max(token for _, token in stops)
        p50, p95 = seconds[times // 2], seconds[int(times * 0.95)]
        figure(4, f"{times} stops of {name}: idle after p50 {p50:.0f}, p95 {p95:.0f} ms; at most {tokens} tokens more")
        assert tokens <= most
    _, ended = ask(engine, prompt, max_tokens=40)
    assert judge.doubt(prompt, ended.tokens) < NEAR  # nobody harmed the cache
    judge.close()


def stop_while_scoring(engine: Engine, chance: random.Random) -> tuple[float, int]:
    """Anywhere between the prefix's first token and the last continuation's."""
    prefix = tuple(chance.randrange(300, 40_000) for _ in range(300))
    continuations = [tuple(chance.randrange(300, 40_000) for _ in range(5)) for _ in range(300)]
    job, heard = begin_scores(engine, prefix, continuations)
    wait_until(lambda: engine.stats().running)
    time.sleep(chance.uniform(0, 0.6))
    seconds, tokens = stop(engine, job.cancel)
    scored = heard.result(60)
    assert isinstance(scored, Scored)
    assert scored.usage.finish_reason == "cancelled"
    assert scored.scores == ()
    return seconds, tokens


def stop_in_a_forced_stretch(engine: Engine, chance: random.Random) -> tuple[float, int]:
    """A grammar leaves no choice about hundreds of tokens, which are evaluated like a prompt."""
    text = " ".join(f"{word} {chance.randrange(1000)}" for word in ["one"] * 100)
    prompt = tuple(chance.randrange(300, 40_000) for _ in range(20))
    answer = engine.complete(Request(prompt, GREEDY, 900, grammar=Grammar.regex(f"[ab]{text}[ab]")))
    begun = list(islice(answer, 1))
    time.sleep(chance.uniform(0, 0.2))
    seconds, tokens = stop(engine, answer.cancel)
    written = "".join([*begun, *answer])
    assert answer.ended
    assert answer.ended.usage.finish_reason == "cancelled"
    assert written[0] in "ab"
    assert text.startswith(written[1:])
    return seconds, tokens


@pytest.mark.parametrize("times", [3, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_scores_and_forced_stretches_stop_as_soon(
    engine: Engine, starter_path: Path, figure: Callable[[int, str], None], times: int
) -> None:
    chance = random.Random(44)
    for name, act in (("scores", stop_while_scoring), ("forced stretches", stop_in_a_forced_stretch)):
        stops = [act(engine, chance) for _ in range(times)]
        seconds, tokens = sorted(1000 * second for second, _ in stops), max(token for _, token in stops)
        figure(4, f"{times} stops of {name}: idle after p50 {seconds[times // 2]:.0f} ms; at most {tokens} tokens more")
        assert tokens <= N_BATCH
    prompt = tuple(engine.vocabulary.tokenize("Once upon a time there was a lighthouse", markers=False))
    judge = Judge(starter_path, longest=128)
    _, ended = ask(engine, prompt, max_tokens=20)
    assert judge.doubt(prompt, ended.tokens) < NEAR  # nobody harmed the cache
    judge.close()
