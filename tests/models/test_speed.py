"""The speed test on a random model: what it reads and writes, and when it is cut short."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from engine_tools import GREEDY, SMALL

from phireside.models.engine import Engine, Request
from phireside.models.speed import measure

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def engine(tiny_phi3: Path) -> Iterator[Engine]:
    with Engine(tiny_phi3, SMALL) as engine:
        yield engine


def test_it_loads_reads_and_writes_and_no_cache_helps(engine: Engine) -> None:
    first = measure(engine, 100, 20)
    second = measure(engine, 100, 20)
    assert first.load_s > 0
    assert second.load_s == 0.0, "It was in memory already."
    for speed in (first, second):
        assert (speed.written_tokens, speed.complete, speed.others) == (20, True, 0)
        assert speed.read_tokens > 90, "The second prompt is another one."
        assert speed.reading == pytest.approx(speed.read_tokens / speed.read_s)
        assert speed.writing > 0


def test_it_is_cut_short_in_time(engine: Engine) -> None:
    speed = measure(engine, 50, 400, seconds=0.05)
    assert not speed.complete
    assert speed.written_tokens < 400


def test_others_are_counted(engine: Engine) -> None:
    answer = engine.complete(Request(tuple(range(300, 320)), GREEDY, max_tokens=400))
    assert len(list(islice(answer, 2))) == 2
    assert measure(engine, 20, 5).others == 1
    answer.cancel()


def test_a_short_context_gets_a_short_prompt(tiny_phi3: Path) -> None:
    with Engine(tiny_phi3, SMALL.model_copy(update={"n_ctx": 64})) as small:
        speed = measure(small, 256, 32)
    assert speed.read_tokens <= 32
    assert speed.complete
