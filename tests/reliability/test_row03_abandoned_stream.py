"""Row 3: somebody reads three tokens and goes away. The next question is answered soon, and no text is ever mixed up.

A resumed `llama_cpp.Llama` generator silently went on with a different text (../shared/RELIABILITY.md).
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from engine_tools import GREEDY, NEAR, SMALL, Judge, begin_scores, is_idle, recorded, wait_until
from langchain_core.messages import AIMessageChunk

from phireside.models import ChatGGUF, Engine
from phireside.models.engine import Request
from phireside.models.grammar import Grammar
from phireside.models.runtime import close_all, runtimes
from phireside.settings import Settings

pytestmark = pytest.mark.real

FIRST, SECOND = "Tell me a story about a lighthouse.", "Name a colour."
WORDS = Grammar.regex("[a-z]{3,9}( [a-z]{3,9}){5,9}")


@pytest.fixture(autouse=True)
def _closed_afterwards() -> Iterator[None]:
    yield
    close_all()


def text_of(chunks: Iterator[AIMessageChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def first_token(model: ChatGGUF) -> tuple[float, str]:
    """Another session asks: seconds to its first token, and its text."""
    heard: list[tuple[float, str]] = []

    def session() -> None:
        began = time.monotonic()
        chunks = model.stream(SECOND)
        first = next(chunks)
        seconds = time.monotonic() - began
        heard.append((seconds, first.text + text_of(chunks)))

    thread = threading.Thread(target=session)
    thread.start()
    thread.join(120)
    return heard[0]


def measure(model: ChatGGUF, times: int) -> tuple[float, list[bool]]:
    """(longest time to the next first token, whether each text was the one that was given alone)."""
    whole, short = model.invoke(FIRST).text, model.invoke(SECOND).text
    engine = runtimes()[0].engine
    slowest, right = 0.0, []
    for number in range(times):
        stream = model.stream(FIRST)
        begun = "".join(chunk.text for chunk in islice(stream, 3))
        if number % 2:
            del stream
            wait_until(lambda: is_idle(engine))  # no lock, no sequence is left behind
        seconds, text = first_token(model)
        slowest = max(slowest, seconds)
        right.append(text == short)
        if number % 2 == 0:  # kept: it goes on where it was, beside the other
            right.append(begun + text_of(stream) == whole)
    wait_until(lambda: is_idle(engine))
    return slowest, right


def report(
    path: Path, settings: Settings, figure: Callable[[int, str], None], times: int, words: int, name: str
) -> None:
    model = ChatGGUF(model=str(path), settings=settings, temperature=0, max_tokens=words, n_ctx=512, timeout=120)
    with recorded() as answers:
        slowest, right = measure(model, times)
    alone = dict(answers[:2])
    differing = [(prompt, answer) for prompt, answer in answers if answer != alone[prompt][: len(answer)]]
    judge = Judge(path, longest=256)
    wrong = sum(judge.doubt(prompt, answer) >= NEAR for prompt, answer in set(differing))
    judge.close()
    stats = runtimes()[0].engine.stats()
    figure(
        3,
        f"{name}: {stats.running + stats.waiting} leaks in {times} abandoned streams (95 % bound {3 / times:.0%}); "
        f"{wrong} wrong of {len(right)} texts, {right.count(False)} at near-ties; next first token after at most "
        f"{slowest:.2f} s",
    )
    assert wrong == 0
    assert stats.running + stats.waiting == 0
    assert right.count(False) <= len(differing)


def test_an_abandoned_stream_disturbs_nobody_and_a_resumed_one_is_the_same_text(
    tiny_chatml: Path, settings: Settings, figure: Callable[[int, str], None]
) -> None:
    report(tiny_chatml, settings, figure, times=10, words=100, name="random model")


@pytest.mark.slow
def test_a_hundred_abandoned_streams_of_the_starter(
    starter_path: Path, settings: Settings, figure: Callable[[int, str], None]
) -> None:
    report(starter_path, settings, figure, times=100, words=32, name="starter")


@pytest.mark.parametrize("times", [12, pytest.param(100, marks=pytest.mark.slow)])
def test_abandoned_forks_and_scores_disturb_nobody(
    tiny_phi3: Path, figure: Callable[[int, str], None], times: int
) -> None:
    prompt, judge = tuple(range(300, 360)), Judge(tiny_phi3, base=SMALL)
    expected, chance = judge.greedy(prompt, 60), random.Random(3)
    parted = wrong = 0
    with Engine(tiny_phi3, SMALL.model_copy(update={"draft_tokens": 4})) as engine:
        for _ in range(times):
            writer = engine.complete(Request(prompt, GREEDY, 60))
            forked = engine.fork(Request(prompt[: chance.randrange(5, 60)], GREEDY, 200), 4)
            formed = engine.fork(Request((5, 6, 7), GREEDY, 100, grammar=WORDS), 2)
            job, _ = begin_scores(engine, prompt[:50], [(400 + i, 401, 402) for i in range(100)])
            list(islice(forked[0], chance.randrange(3)))
            job.cancel()
            del forked, formed
            list(writer)
            assert writer.ended
            parted += list(writer.ended.tokens) != expected
            wrong += judge.doubt(prompt, writer.ended.tokens) >= NEAR
        wait_until(lambda: is_idle(engine))
        stats = engine.stats()
    judge.close()
    figure(
        3,
        f"random model: {stats.running + stats.waiting} leaks, {wrong} wrong of {times} texts ({parted} at near-ties) "
        f"beside {6 * times} abandoned branches and {times} cancelled scores",
    )
    assert wrong == 0
    assert stats.cells_used <= stats.cells
