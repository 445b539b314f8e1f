"""A recurrent model (Mamba): its state cannot be cut back to a prefix, and a batch broken off means reading again."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_tools import GREEDY, ask, is_idle, wait_until

from phireside.models.engine import Engine, Request
from phireside.settings import EngineSettings

pytestmark = pytest.mark.real

PROMPT = tuple(range(10, 60))


@pytest.fixture
def engine(mamba: Path) -> Iterator[Engine]:
    with Engine(mamba, EngineSettings(n_ctx=512, n_batch=32, n_sequences=4, n_threads=1, n_threads_batch=1)) as engine:
        yield engine


def test_it_loads_answers_and_goes_on_from_a_whole_conversation_only(engine: Engine) -> None:
    text, ended = ask(engine, PROMPT)
    again, repeated = ask(engine, PROMPT)
    assert again == text
    assert repeated.usage.cached_tokens == 0  # its state is past the prompt, and cannot go back
    _, longer = ask(engine, [*PROMPT, *ended.tokens, 70])
    assert longer.usage.evaluated_tokens == 2  # the last token of the answer, and the new one


def test_batches_broken_off_by_others_change_no_answer(engine: Engine) -> None:
    alone, _ = ask(engine, PROMPT, max_tokens=300)
    chance = random.Random(0)
    for _ in range(10):
        answer = engine.complete(Request(PROMPT, GREEDY, max_tokens=300))
        for number in range(5):
            other = engine.complete(Request((80 + number,) * 200, GREEDY, max_tokens=100))
            time.sleep(chance.uniform(0, 0.002))
            other.cancel()
        assert "".join(answer) == alone
    wait_until(lambda: is_idle(engine))
