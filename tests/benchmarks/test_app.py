"""The benchmark of the app puts the engine's times and the page's together as it says."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phireside.models.engine.request import Text

Load = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def stream(load: Load) -> ModuleType:
    return load("app_parts.stream")


def test_the_engines_letters_are_those_of_one_conversation_so_far(stream: ModuleType) -> None:
    pieces = [(1.0, "a", "Once"), (1.5, "b", "Other"), (2.0, "a", " **"), (3.0, "a", " up, é"), (4.0, "a", "12")]
    assert stream.letters(map(json.dumps, pieces), "a") == [(1.0, 4), (3.0, 6)]


def test_a_token_is_late_until_the_page_has_as_many_letters(stream: ModuleType) -> None:
    written = [(1.0, 4), (1.1, 6), (1.2, 9), (1.3, 10)]
    shown = [(1.25, 7), (1.75, 10)]  # the first drawing has two tokens and a part of a third
    assert stream.lateness(written, shown) == pytest.approx([0.25, 0.15, 0.55, 0.45])


def test_only_what_was_written_while_all_were_answered_counts(stream: ModuleType) -> None:
    assert stream.overlap([[(1.0, 2), (9.0, 5)], [(2.0, 1), (3.0, 2), (7.0, 4)]]) == (2.0, 7.0)


@given(st.lists(st.floats(0, 100), min_size=2), st.sampled_from([50, 95]))
def test_a_percentile_is_numpys(stream: ModuleType, values: list[float], percent: int) -> None:
    assert stream.percentile(values, percent) == pytest.approx(np.percentile(values, percent))


def test_the_hooked_engine_notes_text_and_hands_everything_over(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAMPS", str(tmp_path / "stamps"))
    stamped = load("app_parts.stamped")
    sent: list[Any] = []
    monkeypatch.setattr(stamped, "_plain", lambda _job, event: sent.append(event))
    with stamped._file:
        for event in (Text("Once"), "the end"):
            stamped._noted(SimpleNamespace(keep="chat"), event)
    [line] = (tmp_path / "stamps").read_text().splitlines()
    assert json.loads(line)[1:] == ["chat", "Once"]
    assert sent == [Text("Once"), "the end"]


def test_a_step_takes_the_time_since_the_one_before(load: Load) -> None:
    start = load("app_parts.start")
    runs = [dict(zip(start.STEPS, times, strict=True)) for times in [(1.0, 3.0, 3.5, 4.0), (2.0, 3.0, 5.0, 9.0)]]
    took = start.steps(runs)
    assert [(spread.low, spread.high) for spread in took.values()] == [(1.0, 2.0), (1.0, 2.0), (0.5, 2.0), (0.5, 4.0)]
    assert [start.total(run) for run in runs] == [4.0, 9.0]


def test_the_first_token_is_printed_by_everyone_alone(load: Load, tiny_chatml: Path) -> None:
    start = load("app_parts.start")
    options = SimpleNamespace(path=tiny_chatml, n_ctx=1024, threads=1, n_batch=64)
    for how in ("bare", "chat"):
        assert start.alone(options, how, 0)["first token"] > 0


@pytest.mark.parametrize(("median", "met"), [(0.49, True), (0.5, False)])
def test_the_command_line_is_judged_by_its_median(load: Load, median: float, met: bool) -> None:
    command = load("app_parts.command")
    assert command.met([{command.OURS: seconds} for seconds in (0.1, median, 9.0)]) is met
