"""Reports: JSON, JUnit, HTML and text, whatever a model said. And conversations saved as scenarios."""

import json
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from phireside.agents.policies.observations import READ_ON
from phireside.agents.policies.repeated_calls import AGAIN
from phireside.agents.policies.untrusted import marked
from phireside.agents.scenarios import Check, Options, Outcome, Run, TurnRecord, as_scenario, load, run_cases
from phireside.agents.scenarios.outcome import Line
from phireside.agents.scenarios.report import as_html, as_json, as_junit, as_text
from phireside.chains import Cost
from phireside.errors import RequestError


def outcome(answer: str = "42", *, passes: bool = True, name: str = "one", expected: bool = True) -> Outcome:
    lines = [
        Line("thought", "Hm"),
        Line("action", "", "sum", {"a": 1}),
        Line("observation", "2", "sum"),
        Line("answer", answer),
    ]
    checks = [Check("turn 1", "contains: 42", passes, 2, "found"), Check("turn 1", "judged: ?", None, 1, "no judge")]
    turn = TurnRecord("What?", lines, [], answer, Cost(2, 100, 40, 9), 1.25)
    run = Run(1, [turn], checks, 1.0)
    return Outcome(name, Path("scenarios/one.yaml"), "starter", expected, 1.0, [run, run])


def test_json_has_what_programs_ask_for() -> None:
    data = json.loads(as_json([outcome(), outcome(passes=False, name="two")]))
    assert (data["passed"], data["failed"]) == (1, 1)
    first, second = data["scenarios"]
    assert {key: first[key] for key in ("name", "passed", "score", "steps")} == {
        "name": "one", "passed": True, "score": 1.0, "steps": 2,
    }  # fmt: skip
    assert (second["passed"], second["score"], second["passed_runs"]) == (False, 0.0, 0)
    (turn,) = first["runs"][0]["turns"]
    assert [step["kind"] for step in turn["steps"]] == ["thought", "action", "observation", "answer"]
    assert turn["cost"]["evaluated_tokens"] == 60


def test_json_has_no_number_that_is_none_in_json() -> None:
    line = Line("action", "", "sum", {"a": float("nan"), "b": [float("inf")]})
    run = Run(1, [TurnRecord("What?", [line], [], "", Cost(), 1)], [], 1.0)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    data = json.loads(as_json([Outcome("x", Path("x"), "m", True, 1.0, [run])]), parse_constant=refuse)
    assert data["scenarios"][0]["runs"][0]["turns"][0]["steps"][0]["arguments"] == {"a": "nan", "b": ["inf"]}


def test_that_nothing_was_measured_is_shown() -> None:
    run = Run(1, [], [Check("turn 1", "judged: ?", None, 1, "no judge")], 1.0)
    assert "nothing was measured" in as_text([Outcome("x", Path("x"), "m", True, 1.0, [run])])
    assert "nothing was measured" not in as_text([outcome()])


def test_text_has_a_line_for_each_and_the_transcript_of_those_that_failed() -> None:
    text = as_text([outcome(), outcome("Bananas", passes=False, name="two", expected=False)])
    first, second, *_ = text.splitlines()
    assert first == "passed  one (starter): score 1.00, 2 steps, 2 of 2 runs passed (95 %: 34% to 100%)"
    assert second.startswith("FAILED  two")
    assert text.endswith("1 passed, 1 failed")
    shown = ["User: What?", 'Action: sum {"a": 1}', "Observation: 2", "Answer: Bananas", "NOT met: turn 1"]
    shown += ["not measured: turn 1, judged: ?", "does not say that it passes on starter", "60 tokens read"]
    assert [words for words in shown if words not in text] == []
    assert "Answer: 42" not in text


@given(st.text())
def test_reports_stand_whatever_a_model_says(answer: str) -> None:
    outcomes = [outcome(answer, passes=False, name=answer or "x")]
    tree = Xml.fromstring(as_junit(outcomes))  # noqa: S314
    assert tree.get("failures") == "1"
    assert tree.find(".//failure") is not None
    assert "\x1b" not in as_text(outcomes)
    json.loads(as_json(outcomes))
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(as_html(outcomes))
    assert {"script", "img", "a"}.isdisjoint(tags)
    assert tags.count("details") == 1


def test_what_was_not_met_comes_first_and_in_red() -> None:
    failed = outcome("Bananas", passes=False)
    text = as_text([failed])
    assert text.index("NOT met: turn 1") < text.index("User: What?") < text.index("not measured:")
    assert '<span class="failed">NOT met: turn 1, contains: 42, weight 2 - found</span>' in as_html([failed])


def test_markup_of_a_model_stays_text() -> None:
    page = as_html([outcome("<script>alert(1)</script>", passes=False)])
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_junit_counts_and_names() -> None:
    tree = Xml.fromstring(as_junit([outcome(), outcome(passes=False, name="two")]))  # noqa: S314
    assert (tree.get("tests"), tree.get("failures")) == ("2", "1")
    assert [case.get("name") for case in tree.iter("testcase")] == ["one", "two"]
    assert tree.find(".//system-out") is not None


# ---- saved conversations ----


def test_a_saved_conversation_is_a_scenario_that_runs_at_once(tmp_path: Path) -> None:
    call = {"name": "look", "args": {"query": "x: 'y'"}, "id": "1", "type": "tool_call"}
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("What is x?\nTell me: yes"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("It is y.", tool_call_id="1", name="look"),
        AIMessage("x is y."),
        HumanMessage("no"),
        AIMessage("2024-01-01"),
    ]
    path = tmp_path / "saved.yaml"
    path.write_text(as_scenario("Saved", messages, model="starter", memory="window", system="Be brief."))
    (outcome,) = run_cases(load([path]), Options(lambda *_, **__: None, model="scripted"))  # type: ignore[arg-type,return-value]
    assert outcome.passed, outcome.runs[0].error
    assert [turn.answer for turn in outcome.runs[0].turns] == ["x is y.", "2024-01-01"]
    assert [each.result for each in outcome.runs[0].turns[0].ran] == ["It is y."]


def test_a_saved_conversation_has_what_tools_gave_and_not_what_the_agent_put_around_it() -> None:
    def call(name: str, thought: str = "") -> AIMessage:
        calls = [{"name": "page", "args": {"address": "x"}, "id": name, "type": "tool_call"}]
        return AIMessage("", tool_calls=calls, additional_kwargs={"reasoning_content": thought} if thought else {})

    def gave(name: str, text: str) -> ToolMessage:
        return marked(ToolMessage(text, tool_call_id=name, name="page"))

    again = gave("3", "second part.")
    again = again.model_copy(update={"content": f"{AGAIN}{again.content}"})
    messages = [
        HumanMessage("Read x."), call("1", "I must read."), gave("1", "The first part," + READ_ON),
        call("2"), gave("2", "second part."), call("3"), again, AIMessage("Done."),
    ]  # fmt: skip
    data = yaml.safe_load(as_scenario("Saved", messages))
    (stub,) = data["tools"]
    assert stub["untrusted"] is True
    assert stub["results"] == [{"when": {"address": "x"}, "returns": "The first part, second part."}]
    assert data["turns"][0]["script"][0]["thought"] == "I must read."


def test_a_conversation_without_a_question_cannot_be_saved() -> None:
    with pytest.raises(RequestError, match="no question"):
        as_scenario("x", [SystemMessage("s"), AIMessage("Hello")])
