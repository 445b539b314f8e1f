"""The reasoning benchmark reads its data right, and its intervals, votes and sums are right."""

import json
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thinking import thinker

from phireside.chains.cost import Cost
from phireside.models import ChatGGUF

Load = Callable[[str], ModuleType]


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (1, 200, 0.0009, 0.0278)],
)
def test_the_interval_is_wilsons(load: Load, right: int, total: int, low: float, high: float) -> None:
    assert load("reasoning_parts.shared").wilson(right, total) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 500), st.data())
def test_the_interval_holds_the_share_and_mirrors(load: Load, total: int, data: Any) -> None:
    wilson = load("reasoning_parts.shared").wilson
    right = data.draw(st.integers(0, total))
    low, high = wilson(right, total)
    assert 0 <= low <= right / total <= high <= 1
    assert wilson(total - right, total) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5 + 6 = 11. The answer is 11.", "11"),
        ("The answer is $1,200.50, not 3.", "1200.50"),
        ("It was 4, then 7.", "7"),
        ("The answer is: -3", "-3"),
        ("none", None),
    ],
)
def test_the_peers_number_is_found_as_a_person_would(load: Load, text: str, value: str | None) -> None:
    assert load("reasoning_parts.svamp").found(text) == (Decimal(value) if value else None)


def test_samples_one_by_one_are_summed_and_vote(load: Load) -> None:
    svamp = load("reasoning_parts.svamp")
    calls = [svamp.Tried(value and Decimal(value), 10, 3, 0.5) for value in ("2", None, "9", "9.0")]
    assert svamp.together(calls) == svamp.Tried(Decimal(9), 40, 12, 2.0)
    assert svamp.together(calls[:3]).value == 2  # a tie: the earliest
    assert svamp.together(calls[1:2]).value is None


def test_a_summary_counts_what_is_right(load: Load) -> None:
    svamp = load("reasoning_parts.svamp")
    tried = [
        svamp.Tried(Decimal("51.0"), 10, 4, 1.0),
        svamp.Tried(None, 20, 6, 3.0),
        svamp.Tried(Decimal(2), 0, 8, 2.0),
    ]
    row = svamp.summary("a way", tried, [Decimal(51), Decimal(1), Decimal(3)])
    assert (row.right, row.total, row.tokens, row.seconds) == (1, 3, 10, 2)
    assert row.more == {"evaluated": 6, "no number found": 1}
    assert "1/3 = 33.3% (6.1%-79.2%)" in str(row)
    assert json.loads(json.dumps(row.data()))["low"] == pytest.approx(0.0615, abs=1e-3)


def test_the_problems_are_read_with_question_and_answer(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "svamp.json"
    file.write_text(json.dumps([{"Body": "Dan had 3 left. ", "Question": "How many?", "Answer": 3.0}]))
    assert load("reasoning_parts.svamp").read(file) == [("Dan had 3 left. How many?", Decimal(3))]


def test_the_cost_of_samples_is_compared_within_pairs(load: Load) -> None:
    samples = load("reasoning_parts.samples")
    run = SimpleNamespace(cost=Cost(2, 100, 20, 30))
    row = samples.compare(
        "x", samples.WHOLE, [{"1 sample": (1.0, run), samples.WHOLE: (s, run)} for s in (2, 9.0, 2.4)]
    )
    assert (row.median, row.low, row.high) == (2.4, 2.0, 9.0)
    assert row.name == "8 samples, each to its end, and 1: x"
    assert row.more["goal"] == "2.5, met"
    assert "read 80" in row.more[samples.WHOLE]
    json.dumps(row.data())


@pytest.mark.parametrize(("arm", "answered"), [("ONE", 1), ("DECIDED", 5), ("WHOLE", 8)])
def test_samples_are_ended_when_the_vote_is_decided_or_written_to_their_end(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arm: str, answered: int
) -> None:
    samples = load("reasoning_parts.samples")
    problem = {"Body": "Dan had 3 left.", "Question": "How many?", "Answer": 3.0}
    (tmp_path / "svamp-150.json").write_text(json.dumps([problem]))
    monkeypatch.setattr(samples, "ours", lambda options, **fields: thinker("so 9"))
    _, result = samples._run(Namespace(data=tmp_path, max_tokens=8), getattr(samples, arm), 0, -1)
    assert sum(path.state == "answered" for path in result.paths) == answered


def test_the_peer_has_our_penalty_for_repetition_which_is_none(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own is 1.1: with that it would be another sampling that is compared."""
    shared = load("reasoning_parts.shared")
    recorded = SimpleNamespace(ChatLlamaCpp=lambda **fields: fields)
    monkeypatch.setitem(
        sys.modules, "langchain_community", SimpleNamespace(chat_models=recorded)
    )  # an extra, and deprecated
    monkeypatch.setitem(sys.modules, "langchain_community.chat_models", recorded)
    options = Namespace(path=Path("m.gguf"), n_ctx=512, threads=2, n_batch=256, n_gpu_layers=0)
    assert shared.peer(options)["repeat_penalty"] == ChatGGUF().repeat_penalty == 1.0


def test_the_rows_say_that_at_once_is_not_the_same_on_both_sides(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    svamp = load("reasoning_parts.svamp")
    monkeypatch.setattr(svamp, "ours", lambda options: thinker("so 9"))
    monkeypatch.setattr(svamp, "peer", lambda options, **fields: SimpleNamespace(client=None))
    monkeypatch.setattr("chat_turns.Counter", lambda client: None)
    ways = svamp.our_ways(Namespace(max_tokens=8)) | svamp.peer_ways(Namespace(max_tokens=8))
    assert "ours, at once: 'The answer is N' only" in ways
    assert "ChatLlamaCpp, at once: free text" in ways


def test_rows_are_printed_and_kept_as_they_come(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reasoning, shared = load("reasoning"), load("reasoning_parts.shared")
    svamp = load("reasoning_parts.svamp")
    out = tmp_path / "rows.jsonl"
    given = Namespace(part=["svamp"], path=Path("m.gguf"), results=out)
    monkeypatch.setattr(reasoning, "arguments", lambda: given)
    monkeypatch.setattr(svamp, "rows", lambda options: iter([shared.Row("svamp", "a way", 1, 2, 3.0, 4.0)]))
    with warnings.catch_warnings():  # the benchmark silences the peer's
        assert reasoning.main() == 0
    kept = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["model"], row["name"], row["share"]) for row in kept] == [("m", "a way", 0.5)]
    assert "a way" in capsys.readouterr().out
