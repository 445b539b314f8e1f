"""Expectations: what meets them, what does not, and how they make a score."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from langchain_core.language_models import FakeListChatModel
from langchain_core.outputs import ChatResult

from phireside.agents.scenarios import Check, Outcome, Run, TurnRecord, patterns, wilson
from phireside.agents.scenarios.expect import Means, check
from phireside.agents.scenarios.match import matches, numbers, same_calls
from phireside.agents.scenarios.outcome import Line
from phireside.agents.scenarios.schema import Call, Expect
from phireside.agents.scenarios.toolbox import Ran
from phireside.chains import Cost

NOTHING, NO_MEANS = Cost(), Means()
Calls = Sequence[tuple[str, Mapping[str, Any]]]
SEARCH, SUM = ("search", {"query": "MacBook  Pro"}), ("sum", {"a": 2249, "text": "2249 * 0.85"})


def turn(
    answer: str = "", ran: Calls = (), results: Sequence[str] = (), cost: Cost = NOTHING, seconds: float = 1
) -> TurnRecord:
    done = [Ran(name, arguments, "".join(results), False, 0) for name, arguments in ran]
    lines = [line for name, _ in ran for line in (Line("action", "", name), Line("observation", ""))]
    return TurnRecord("What?", [*lines, Line("answer", answer)], done, answer, cost, seconds)


def met(expected: dict[str, Any], *turns: TurnRecord, means: Means = NO_MEANS) -> bool | None:
    return check(Expect.model_validate(expected), "turn 1", turns, means).met


def test_a_pattern_is_named_as_the_file_has_it() -> None:
    arguments = {"query": {"contains": "macbook"}, "at": 'a"b', "most": 3}
    assert Expect.model_validate({"tool": "search", "arguments": arguments}).label == (
        "tool: search(query contains: macbook, at='a\"b', most=3)"
    )


@pytest.mark.parametrize(
    ("expected", "good", "bad"),
    [
        ({"contains": "PARIS  is"}, "In short: Paris is it.", "It is Rome."),
        ({"number": 1911.65}, "It costs 1,911.65 EUR.", "It costs 1911.64 EUR."),
        ({"number": 1911.65, "tolerance": 0.01}, "1911.66", "1911.67"),
        ({"number": -5}, "It is -5.", "It is 5."),
        ({"number": 0.1}, "0.10", "0.2"),
        ({"number": 12345678901234567891}, "12345678901234567891", "12345678901234567890"),
        ({"number": 10}, "In 5-10 days.", "In 5 to -10 days."),
        ({"regex": r"\bcat\b"}, "a cat", "concat"),
        ({"json-schema": {"type": "object", "required": ["a"]}}, '{"a": 1}', '{"b": 1}'),
        ({"json-schema": {"type": "object"}}, "{}", "Here it is: {}"),
        ({"choice": ["Yes", "No"]}, " yes\n", "Yes, but"),
    ],
)
def test_expectations_of_an_answer(expected: dict[str, Any], good: str, bad: str) -> None:
    assert met(expected, turn(good)) is True
    assert met(expected, turn(bad)) is False
    assert met(expected, turn("")) is False
    (kind, value), *rest = expected.items()
    turned = {f"not-{kind}": value, **dict(rest)}
    assert met(turned, turn(good)) is False
    assert met(turned, turn(bad)) is True


@pytest.mark.parametrize(
    ("expected", "holds"),
    [
        ({"tool": "search"}, True),
        ({"tool": "search", "arguments": {"query": "macbook pro"}}, True),
        ({"tool": "search", "arguments": {"query": "macbook"}}, False),
        ({"tool": "search", "arguments": {"query": {"contains": "macbook"}}}, True),
        ({"tool": "search", "arguments": {"other": "x"}}, False),
        ({"tool": "sum", "arguments": {"a": 2249}}, True),
        ({"tool": "sum", "arguments": {"a": "2249"}}, False),
        ({"tool": "sum", "arguments": {"text": {"number": 0.85}}}, True),
        ({"tool": "sum", "arguments": {"text": {"regex": r"^\d+ \* 0"}}}, True),
        ({"tool": "clock"}, False),
        ({"not-tool": "clock"}, True),
        ({"observed": "SHOP"}, True),
        ({"observed": "bank"}, False),
    ],
)
def test_expectations_of_what_ran(expected: dict[str, Any], holds: bool) -> None:
    assert met(expected, turn("x", [SEARCH], ["the shop"]), turn("y", [SUM])) is holds


@pytest.mark.parametrize(
    ("wanted", "held_by"),
    [
        (["search", "sum"], {"strict", "unordered", "subset", "superset"}),
        (["sum", "search"], {"unordered", "subset", "superset"}),
        (["search"], {"superset"}),
        (["search", "sum", "clock"], {"subset"}),
        (["search", "search"], set()),
        ([], {"superset"}),
    ],
)
def test_orders_of_calls(wanted: list[str], held_by: set[str]) -> None:
    calls = [{"tool": name} for name in wanted]
    orders = ("strict", "unordered", "subset", "superset")
    assert {order for order in orders if met({"calls": calls, "order": order}, turn("", [SEARCH, SUM]))} == held_by


@pytest.mark.parametrize(
    ("expected", "label"),
    [
        ({"calls": [{"tool": "sum", "arguments": {"a": 1}}, {"tool": "clock"}]}, "calls: sum(a=1), clock (strict)"),
        ({"not-tool": "sum", "arguments": {"text": "x"}}, "not-tool: sum(text='x')"),
        ({"number": 1488}, "number: 1488"),
        ({"choice": ["yes", "no"]}, 'choice: ["yes", "no"]'),
    ],
)
def test_reports_name_expectations_as_people_write_them(expected: dict[str, Any], label: str) -> None:
    assert Expect.model_validate(expected).label == label


def test_a_loose_pattern_does_not_take_the_call_that_a_strict_one_needs() -> None:
    wanted = [Call(tool="t"), Call(tool="t", arguments={"x": 1})]
    assert same_calls(wanted, [("t", {"x": 1}), ("t", {"x": 2})], "unordered")
    assert not same_calls(wanted, [("t", {"x": 3}), ("t", {"x": 2})], "unordered")


@given(st.lists(st.sampled_from("abc"), max_size=5), st.lists(st.sampled_from("abc"), max_size=5))
def test_orders_agree_with_multisets(wanted: list[str], ran: list[str]) -> None:
    calls, done = [Call(tool=name) for name in wanted], [(name, dict[str, Any]()) for name in ran]
    assert same_calls(calls, done, "strict") == (wanted == ran)
    assert same_calls(calls, done, "unordered") == (sorted(wanted) == sorted(ran))
    assert same_calls(calls, done, "subset") == all(ran.count(x) <= wanted.count(x) for x in "abc")
    assert same_calls(calls, done, "superset") == all(wanted.count(x) <= ran.count(x) for x in "abc")


NESTED = {"type": "array", "items": {"$ref": "#"}}


def test_an_answer_that_is_nested_too_deep_does_not_meet_a_schema() -> None:
    assert met({"json-schema": NESTED}, turn("[[], [[]]]")) is True
    assert met({"json-schema": NESTED}, turn("[" * 20_000)) is False
    assert met({"json-schema": NESTED}, turn("[" * 500 + "]" * 500)) is False


ENDLESS, TEXT = "(a|aa)+$", "a" * 60 + "!"


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        ({"regex": ENDLESS}, TEXT),
        ({"not-regex": ENDLESS}, TEXT),
        ({"json-schema": {"pattern": ENDLESS}}, f'"{TEXT}"'),
        ({"json-schema": {"additionalProperties": False, "patternProperties": {ENDLESS: {}}}}, f'{{"{TEXT}": 1}}'),
        ({"json-schema": {"$schema": "https://json-schema.org/draft/2020-12/schema", "items": {"$ref": "#"},
                          "pattern": ENDLESS}}, f'["{TEXT}"]'),
    ],
)  # fmt: skip
def test_a_regular_expression_without_an_end_is_not_measured(
    expected: dict[str, Any], answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "_SECONDS", 0.05)
    result = check(Expect.model_validate(expected), "turn 1", [turn(answer)], NO_MEANS)
    assert result.met is None
    assert "took too long" in result.reason


@pytest.mark.parametrize(
    ("value", "good"),
    [({"a": 1, "x1": 2}, True), ({"a": 1, "x1": "2"}, False), ({"b": 1}, False), ({"a": 1, "x": "no"}, False)],
)
def test_schemas_with_patterns_of_names_mean_what_they_mean_to_jsonschema(value: dict[str, Any], good: bool) -> None:
    schema = {"properties": {"a": {}}, "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}
    assert (not list(Draft202012Validator(schema).iter_errors(value))) is good
    assert met({"json-schema": schema}, turn(json.dumps(value))) is good


def test_a_truth_value_is_no_number() -> None:
    assert not matches({"x": 1}, {"x": True})
    assert matches({"x": True}, {"x": True})


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**12), max_value=10**12))
def test_a_number_is_found_however_it_is_written(value: Decimal) -> None:
    assert numbers(f"It is {value:,}.") == [value]
    assert numbers(f"({value:f})") == [value]


@pytest.mark.parametrize(
    ("expected", "holds"),
    [
        ({"steps": 2}, True),
        ({"steps": 1}, False),
        ({"tokens": 30}, True),
        ({"tokens": 29}, False),
        ({"evaluated": 60}, True),
        ({"evaluated": 59}, False),
        ({"seconds": 2}, True),
        ({"seconds": 1.9}, False),
        ({"not-steps": 1}, True),
    ],
)
def test_budgets(expected: dict[str, Any], holds: bool) -> None:
    cost = Cost(calls=5, prompt_tokens=100, cached_tokens=40, generated_tokens=30)
    assert met(expected, turn("x", [SEARCH], cost=cost, seconds=3), means=Means(reference_s=1.5)) is holds


@pytest.mark.parametrize("expected", [{"judged": "Is it?"}, {"seconds": 1}, {"tokens": 1}, {"not-evaluated": 1}])
def test_what_cannot_be_measured_counts_for_nothing(expected: dict[str, Any]) -> None:
    found = check(Expect.model_validate(expected), "turn 1", [turn("x")], Means())
    assert found.met is None
    assert found.reason
    assert Run(1, [], [found, Check("", "", True, 1, "")], 1.0).score == 1


@pytest.mark.parametrize(("says", "holds"), [("yes", True), ("No", False)])
def test_the_judge_says_yes_or_no(says: str, holds: bool) -> None:
    judge = FakeListChatModel(responses=[says])
    assert met({"judged": "Is it polite?"}, turn("Good morning!"), means=Means(judge)) is holds
    assert met({"not-judged": "Is it polite?"}, turn("Good morning!"), means=Means(judge)) is not holds


class Connected(FakeListChatModel):
    """As clients of model servers do, it keeps its connection with the loop that opened it."""

    loops: Any

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        self.loops.append(asyncio.get_running_loop())
        return self._generate(*args, **kwargs)


def test_a_judge_on_a_server_can_be_asked_more_than_once() -> None:
    judge = Connected(responses=["yes"], loops=[])
    assert all(met({"judged": "Is it?"}, turn("Paris."), means=Means(judge)) for _ in range(2))
    assert judge.loops[0] is judge.loops[1]
    assert not judge.loops[0].is_closed()


def test_the_score_is_the_weighted_share_and_the_threshold_decides() -> None:
    checks = [Check("", "", True, 3, ""), Check("", "", False, 1, ""), Check("", "", False, 0, "")]
    assert Run(1, [], checks, 0.75).score == 0.75
    assert Run(1, [], checks, 0.75).passed
    assert not Run(1, [], checks, 0.76).passed
    assert not Run(1, [], [], 0.0, "it broke").passed
    assert Run(1, [], [], 1.0).score == 1


def test_enough_runs_must_pass() -> None:
    good, bad = Run(1, [], [], 1.0), Run(2, [], [], 1.0, "broke")
    runs = [good, good, good, good, bad]
    assert Outcome("x", Path("x"), "m", True, 0.8, runs).passed
    assert not Outcome("x", Path("x"), "m", True, 0.81, runs).passed
    assert Outcome("x", Path("x"), "m", True, 0.8, runs).interval == wilson(4, 5)
    assert wilson(5, 5)[0] == pytest.approx(0.5655, abs=1e-4)
