"""The agents' benchmark reads questions and answers right, counts steps as it says, and outlives its arms."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from acting import acts
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from phireside.agents import build_agent
from phireside.tools import calculator

Load = Callable[[str], ModuleType]

ARMS = """
import os, time

def maker(name, options):
    def ask(question):
        if question == "crash":
            os._exit(7)
        if question == "hang":
            time.sleep(60)
        if question == "raise":
            raise ValueError("no idea")
        return f"{name}: {question} {os.getpid()}"
    return ask
"""


@pytest.fixture(scope="module", autouse=True)
def _arms(load: Load, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A module with arms for tests is among those of the benchmarks."""
    folder = tmp_path_factory.mktemp("arms")
    (folder / "arms_for_tests.py").write_text(ARMS)
    sys.path.insert(1, str(folder))
    yield
    sys.modules.pop("arms_for_tests", None)


def call(**args: Any) -> AIMessage:
    calls = [{"name": "calculator", "args": args, "id": "1", "type": "tool_call"}]
    return AIMessage("", tool_calls=calls)


def usage(read: int, written: int, cached: int = 0) -> dict[str, Any]:
    return {
        "input_tokens": read, "output_tokens": written, "total_tokens": read + written,
        "input_token_details": {"cache_read": cached},
    }  # fmt: skip


def test_the_arithmetic_questions_have_their_answers(load: Load) -> None:
    questions = load("agents_parts.questions").arithmetic()
    assert len(questions) == 20
    answers = {each.text: each.answer for each in questions}
    assert answers["What is 17 * 23?"] == 391
    assert answers["How much is 2249 times 0.85?"] == Decimal("1911.65")
    assert answers["What is the square root of 144?"] == 12
    assert answers["What is 2 to the power of 10?"] == 1024


def test_word_problems_are_taken_from_where_they_are_wanted(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "svamp.json"
    file.write_text(json.dumps([{"Body": f"{n} pens.", "Question": "How many?", "Answer": float(n)} for n in range(9)]))
    found = load("agents_parts.questions").svamp(file, 4, 2)
    assert [(each.name, each.text, each.answer) for each in found] == [
        ("svamp 4", "4 pens. How many?", 4),
        ("svamp 5", "5 pens. How many?", 5),
    ]


@pytest.mark.parametrize(
    ("text", "number"), [("51", "51"), ("-2.5", "-2.5"), ("5 miles", "5"), ("It is 5.", None), ("2024-01-01", None)]
)
def test_an_observation_is_a_number_or_none(load: Load, text: str, number: str | None) -> None:
    assert load("agents_parts.questions").only_number(text) == (Decimal(number) if number else None)


def test_a_run_is_judged_by_its_results_and_by_its_last_words(load: Load) -> None:
    asked, question = load("agents_parts.asked"), load("agents_parts.questions").Question("svamp 3", "?", Decimal(51))
    run = asked.Asked("The answer is 76.", ["76", "51"], 3, 1, 20, 30, 1.5)
    kept = asked.entry(question, run, "")
    assert (kept["called"], kept["reached"], kept["right"]) == (True, True, False)
    assert json.loads(json.dumps(kept))["malformed"] == 1
    assert asked.entry(question, None, "hung") == {"question": "svamp 3", "error": "hung"}


def test_the_table_counts_runs_that_crashed(load: Load) -> None:
    asked, question = load("agents_parts.asked"), load("agents_parts.questions").Question("svamp 3", "?", Decimal(51))
    runs = [
        asked.entry(question, asked.Asked("It is 51.", ["51"], 2, 0, 20, 30, 2.0, excess=[3]), ""),
        asked.entry(question, asked.Asked("", [], 4, 4, 40, 10, 4.0, ended=False), ""),
        asked.entry(question, None, "crashed with exit code -11"),
    ]
    line = str(asked.Row("an arm", runs))
    assert line == "| an arm | 3 | 4 of 6 | 1 | 1 | 1 = 33.3% (6.1%-79.2%) | 20 + 30 | 3.0 | 2 | 3 (1 measured) |"
    kept = [{"arm": "an arm", **each} for each in runs]
    assert asked.table(kept, ["nobody", "an arm"]).splitlines()[2:] == [line]


def test_steps_of_react_agents_are_counted(load: Load) -> None:
    def step(tool: str, observation: str) -> Any:
        return SimpleNamespace(tool=tool), observation

    steps = [
        step("_Exception", "Invalid"),
        step("calc", "no tool"),
        step("calculator", "Error: x"),
        step("calculator", "5"),
    ]
    peers = load("agents_parts.peers")
    run = peers.of_executor({"output": "It is 5", "intermediate_steps": steps}, 9, 8, 1.0)
    assert (run.steps, run.malformed, run.observations, run.ended) == (5, 2, ["5"], True)
    run = peers.of_executor({"output": "Agent stopped due to iteration limit.", "intermediate_steps": steps}, 9, 8, 1.0)
    assert (run.steps, run.ended, run.answer) == (4, False, "")


@pytest.mark.parametrize(
    ("message", "malformed"),
    [
        (call(expression="1 + 1"), False),
        (call(number="1"), True),
        (AIMessage("It is 2."), False),
        (AIMessage(" "), True),
        (AIMessage('{"name": "calculator", "arguments": {}}'), True),
        (AIMessage("", invalid_tool_calls=[{"name": "calculator", "args": "{", "id": "1", "error": None}]), True),
    ],
)
def test_a_step_is_a_call_that_fits_or_an_answer(load: Load, message: AIMessage, malformed: bool) -> None:
    assert load("agents_parts.peers").is_malformed(message) is malformed


def test_our_steps_are_counted_with_what_they_read_again(load: Load) -> None:
    first, second = call(expression="1 + 1"), AIMessage("It is 2.")
    first.usage_metadata, first.response_metadata = usage(100, 20, 60), {"evaluated_tokens": 40}
    second.usage_metadata, second.response_metadata = usage(150, 5, 118), {"evaluated_tokens": 32}
    messages = [HumanMessage("?"), first, ToolMessage("2", tool_call_id="1"), second]
    run = load("agents_parts.ours").of_messages(messages, [first, second], 1.0)
    assert (run.steps, run.written, run.evaluated, run.ended) == (2, 25, 72, True)
    assert run.observations == ["2"]
    assert run.excess == [2]
    first.response_metadata = {}  # a step that was chosen: its prompt was another one
    assert load("agents_parts.ours").excess([first, second]) == []


@pytest.mark.parametrize(
    ("script", "counted"),
    [
        ([AIMessage(""), AIMessage("")], (2, 2, False, "")),
        ([AIMessage(""), AIMessage("It is 2.")], (2, 1, True, "It is 2.")),
        ([call(expression="1 + 1"), AIMessage("It is 2.")], (2, 0, True, "It is 2.")),
    ],
)
def test_what_our_agent_hides_from_a_person_is_counted(load: Load, script: list[AIMessage], counted: Any) -> None:
    ours = load("agents_parts.ours")
    heard, agent = ours.Heard(), build_agent(acts(*script), [calculator()])
    messages = agent.invoke({"messages": [("user", "Go")]}, {"callbacks": [heard]})["messages"]
    run = ours.of_messages(messages, heard.messages, 1.0)
    assert (run.steps, run.malformed, run.ended, run.answer) == counted


def test_the_call_with_the_most_votes_is_the_first_with_that_value(load: Load) -> None:
    def response(message: AIMessage) -> Any:
        return SimpleNamespace(result=[message])

    tried = [
        call(expression="1 / 0"),
        AIMessage("5"),
        call(expression="9 - 4"),
        call(expression="2 + 3"),
        call(expression="1"),
    ]
    found = load("agents_parts.tried").most_voted([response(each) for each in tried])
    assert found.result[0] is tried[2]
    assert load("agents_parts.tried").most_voted([response(each) for each in tried[:2]]).result[0] is tried[0]


@pytest.mark.parametrize(
    ("question", "answer"), [("He had 9, then 3 and 5.", "2"), ("5 and 12?", "7"), ("Only 4", "0"), ("None", "-")]
)
def test_the_rule_subtracts(load: Load, question: str, answer: str) -> None:
    assert load("agents_parts.tried").rule("rule", None)(question).answer == answer


def test_an_arm_that_crashes_hangs_or_raises_is_started_again(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    # Streamlit's AppTest leaves its script in this place, and a new process would begin by running it.
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    child = load("agents_parts.child").Child("arms_for_tests:maker", "an arm", Namespace(), 2.0)
    try:
        child._seconds = 30.0  # starting takes some
        first, error = child.ask("hello")
        assert (first.rpartition(" ")[0], error) == ("an arm: hello", "")
        assert child.ask("raise") == (None, "ValueError: no idea")
        assert child.ask("hello") == (first, "")
        assert child.ask("crash") == (None, "crashed with exit code 7")
        again, error = child.ask("hello")
        assert (again != first, error) == (True, "")
        child._seconds = 0.2
        assert child.ask("hang") == (None, "hung")
    finally:
        child.end()


class Script:
    """In the place of a process."""

    def __init__(self, load: Load, answer: str) -> None:
        self.asked: list[str] = []
        self._run = load("agents_parts.asked").Asked(answer, ["51"], 2, 0, 20, 30, 2.0, excess=[0])

    def ask(self, question: str) -> Any:
        self.asked.append(question)
        return self._run, ""


def test_everyone_is_asked_in_turn_and_nothing_twice(load: Load) -> None:
    agents, question = load("agents"), load("agents_parts.questions").Question
    children = {"a": Script(load, "51"), "b": Script(load, "7")}
    wanted = [question(f"svamp {n}", str(n), Decimal(51)) for n in range(2)]
    kept = [{"arm": "a", "question": "svamp 1"}]
    new = list(agents.asked(children, wanted, kept))
    assert [(each["arm"], each["question"], each["right"]) for each in new] == [
        ("a", "svamp 0", True),
        ("b", "svamp 0", False),
        ("b", "svamp 1", False),
    ]
    assert kept[1:] == new
    assert agents.of("svamp", kept, wanted[:1]) == new[:2]


def test_a_broken_promise_of_ours_is_a_failure(load: Load) -> None:
    failed, good = load("agents").failed, {"error": "", "malformed": 0, "ended": True, "excess": [8]}
    assert not failed(good)
    for broken in ({"error": "hung"}, {"malformed": 1}, {"ended": False}, {"excess": [0, 9]}):
        assert failed({**good, **broken})
