"""An engine's figures added up: as numbers, and in an engine at work."""

from itertools import islice

import pytest
from engine_tools import GREEDY, ask, wait_until

from phireside.errors import EngineError
from phireside.models.engine import Ended, Engine, Event, Failed, Request, Scored, Text, Usage
from phireside.models.engine import tally as module
from phireside.models.engine.tally import Tally, Totals

USAGE = Usage("stop", 10, cached_tokens=4, evaluated_tokens=6, generated_tokens=3, prefill_s=0.5, decode_s=0.25)


def test_figures_are_added_up_and_every_event_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    tally, seen = Tally(), list[Event]()
    sink = tally.of(seen.append)
    events: list[Event] = [Text("a"), Text("b"), Ended(USAGE, (1, 2), exact=True), Scored((), USAGE)]
    for event in [*events, Failed(EngineError("no"))]:
        sink(event)
    assert seen[:4] == events
    whole = Totals(2, 20, 8, 12, 6, 1.0, 0.5, 2 / module.RECENT_S)
    assert tally.totals() == whole
    clock[0] += module.RECENT_S + 1
    assert tally.totals().pieces_per_second == 0.0, "What was written long ago is no speed of now."


@pytest.mark.real
def test_an_engine_counts_what_it_has_served(engine: Engine) -> None:
    ended = [ask(engine, range(300, 340))[1].usage for _ in range(2)]
    engine.score([300, 301], [[302], [303]])
    served = engine.stats().served
    assert served.requests == 3
    assert served.cached_tokens >= sum(usage.cached_tokens for usage in ended) > 0
    assert served.evaluated_tokens >= sum(usage.evaluated_tokens for usage in ended)
    assert served.generated_tokens == sum(usage.generated_tokens for usage in ended)
    assert served.decode_s == pytest.approx(sum(usage.decode_s for usage in ended))
    answer = engine.complete(Request(tuple(range(300, 320)), GREEDY, max_tokens=400))
    assert len(list(islice(answer, 3))) == 3
    assert engine.stats().served.pieces_per_second > 0
    answer.cancel()
    wait_until(lambda: engine.stats().served.requests == 4)
