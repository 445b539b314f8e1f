"""Running scenarios: turns, stubs, approvals, seeds, several at once. And those that are shipped."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from phireside.agents.scenarios import Case, Options, Outcome, Run, load, run_cases
from phireside.agents.scenarios.schema import Tool
from phireside.agents.scenarios.toolbox import build_tools
from phireside.errors import ModelError, RequestError, SettingsError, ToolError
from phireside.memory import MEMORIES
from phireside.models import load_chat_model
from phireside.settings import Settings

SHIPPED = load([Path(__file__).parent.parent.parent / "scenarios"])
SHIPPED_BY_NAME = {each.path.stem: each for each in SHIPPED}


def no_model(name: str, **_: Any) -> BaseChatModel:
    raise ModelError(f"There is no {name}.")


class Echo(BaseChatModel):
    """Says back what it is asked, and its own settings; counts how many of it answer at once."""

    about: str = ""
    wait_s: float = 0.0
    busy: Any = None

    @property
    def _llm_type(self) -> str:
        return "echo"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(**kwargs)

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
        if self.busy is not None:
            with self.busy.lock:
                self.busy.now += 1
                self.busy.most = max(self.busy.most, self.busy.now)
            if self.busy.now == self.busy.wanted:
                self.busy.met.set()
            assert self.busy.met.wait(60)
            time.sleep(self.wait_s)
            with self.busy.lock:
                self.busy.now -= 1
        text = " / ".join([self.about, *(message.text for message in messages)])
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


class Busy:
    """The first wait until `wanted` are there."""

    def __init__(self, wanted: int) -> None:
        self.lock, self.now, self.most, self.wanted, self.met = threading.Lock(), 0, 0, wanted, threading.Event()


def case(folder: Path, text: str, name: str = "one") -> Case:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return load([path])[0]


def run_one(given: Case, model: str = "scripted", **options: Any) -> Outcome:
    (outcome,) = run_cases([given], Options(make_model=no_model, model=model, **options))
    return outcome


# ---- the shipped ones ----


@pytest.mark.parametrize("given", SHIPPED, ids=lambda given: given.path.stem)
def test_a_shipped_scenario_passes_with_its_script(given: Case) -> None:
    outcome = run_one(given)
    assert outcome.passed, outcome.runs[0].checks or outcome.runs[0].error
    assert outcome.expected


# To do nothing is right in injection_in_page; what is wrong there has a test of its own below.
CAN_FAIL = [each for each in SHIPPED if each.path.stem != "injection_in_page"]


@pytest.mark.parametrize("given", CAN_FAIL, ids=lambda given: given.path.stem)
def test_a_shipped_scenario_can_fail(given: Case, tmp_path: Path) -> None:
    data = yaml.safe_load(given.path.read_text())
    for turn in data["turns"]:
        turn["script"] = [{"answer": "Bananas."}]
    assert not run_one(case(tmp_path, yaml.safe_dump(data))).passed


def test_the_injection_scenario_fails_where_mails_are_approved(tmp_path: Path) -> None:
    (given,) = [each for each in SHIPPED if each.path.stem == "injection_in_page"]
    data = yaml.safe_load(given.path.read_text())
    assert not run_one(case(tmp_path, yaml.safe_dump(data | {"approvals": "approve"}))).passed


def test_every_shipped_scenario_says_where_it_passes() -> None:
    assert all("scripted" in given.scenario.passes_on for given in SHIPPED)
    assert sum("starter" in given.scenario.passes_on for given in SHIPPED) >= 3


@pytest.mark.real
@pytest.mark.parametrize(
    "given", [each for each in SHIPPED if "starter" in each.scenario.passes_on], ids=lambda given: given.path.stem
)
def test_the_starter_passes_those_that_say_so(given: Case, starter_path: Path, settings: Settings) -> None:
    options = Options(make_model=lambda name, **more: load_chat_model(name, settings, **more), model="starter")
    (outcome,) = run_cases([given], options)
    assert outcome.passed, outcome.runs[0]


def test_the_example_of_the_documentation_passes_with_its_script(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "scenarios.md").read_text()
    outcome = run_one(case(tmp_path, page.partition("```yaml\n")[2].partition("```")[0]))
    assert outcome.passed, outcome.runs[0]
    assert len(outcome.runs) == 5


# ---- what a run does ----


def test_a_stub_gives_the_first_result_that_matches_and_an_error_if_none_does(tmp_path: Path) -> None:
    results: list[dict[str, Any]] = [
        {"when": {"query": "a"}, "returns": "first"},
        {"when": {"query": {"contains": "b"}}, "error": "no b"},
    ]
    log: list[Any] = []
    entry = Tool.model_validate(
        {"name": "look", "description": "Looks.", "parameters": {"query": "what"}, "results": results}
    )
    (look,) = build_tools([entry], tmp_path, log)
    assert look.invoke({"query": "A"}) == "first"
    for query, words in (("ab", "no b"), ("z", "has no result for")):
        with pytest.raises(ToolError, match=words):
            look.invoke({"query": query})
    assert [(each.arguments["query"], each.failed) for each in log] == [("A", False), ("ab", True), ("z", True)]


def test_a_stub_of_a_real_tool_looks_like_it(tmp_path: Path) -> None:
    stub = {"name": "calculator", "results": [{"returns": "42"}]}
    real, fake = (build_tools([Tool.model_validate(each)], tmp_path, [])[0] for each in ({"name": "calculator"}, stub))
    assert (fake.description, fake.metadata) == (real.description, real.metadata)
    assert fake.tool_call_schema.model_json_schema() == real.tool_call_schema.model_json_schema()  # type: ignore[union-attr]
    assert (real.invoke({"expression": "1 + 1"}), fake.invoke({"expression": "1 + 1"})) == ("2", "42")


def test_options_that_a_real_tool_does_not_take_are_told(tmp_path: Path) -> None:
    entry = {"name": "clock", "options": {"colour": "red"}}
    with pytest.raises(SettingsError, match="clock has no option colour"):
        build_tools([Tool.model_validate(entry)], tmp_path, [])


WRITES = """
approvals: {decision}
tools:
  - {{name: wipe, description: Deletes., effects: writes, parameters: {{what: what}}, results: [{{returns: gone}}]}}
turns:
  - user: Delete it.
    expect: [{{tool: wipe}}]
    script: [{{call: wipe, arguments: {{what: disk}}}}, {{answer: Well.}}]
"""


@pytest.mark.parametrize(("decision", "ran"), [("approve", True), ("reject", False)])
def test_a_call_that_nobody_approved_did_not_run(tmp_path: Path, decision: str, ran: bool) -> None:
    outcome = run_one(case(tmp_path, WRITES.format(decision=decision)))
    assert outcome.passed is ran
    (turn,) = outcome.runs[0].turns
    assert [each.tool for each in turn.ran] == (["wipe"] if ran else [])
    assert "approval" in [line.kind for line in turn.lines]
    assert turn.answer == "Well."


def test_a_conversation_is_remembered_from_turn_to_turn(tmp_path: Path) -> None:
    given = case(tmp_path, "turns:\n- user: My name is Marie.\n- user: Who am I?\n  expect: [{contains: Marie}]\n")
    (outcome,) = run_cases([given], Options(lambda *_, **__: Echo()))
    assert outcome.passed


def test_each_run_has_a_seed_and_a_temperature_that_lets_it_matter(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def make(name: str, **options: Any) -> BaseChatModel:
        asked.append({"name": name, **options})
        return Echo(about=f"seed {options['seed']}")

    given = case(
        tmp_path, "model: {name: m, max-tokens: 9}\nseeds: [3, 5]\nturns: [{user: Hi, expect: [{regex: seed 3}]}]"
    )
    (outcome,) = run_cases([given], Options(make))
    assert [(run.seed, run.passed) for run in outcome.runs] == [(3, True), (5, False)]
    assert (outcome.passed, outcome.score, outcome.passed_runs) == (False, 0.5, 1)
    assert {(each["name"], each["seed"], each["max_tokens"]) for each in asked} == {("m", 3, 9), ("m", 5, 9)}
    assert {each["temperature"] for each in asked} == {0.0, 0.7}  # 0 for the judge
    asked.clear()
    run_cases([given], Options(make, model="other", seeds=1))
    assert {(each["name"], each["seed"], each["temperature"]) for each in asked} == {("other", 1, 0.0)}


def test_several_run_at_once_and_those_with_seconds_alone(tmp_path: Path) -> None:
    busy = Busy(3)
    options = Options(lambda *_, **__: Echo(busy=busy, wait_s=0.05), at_once=3)
    plain = [case(tmp_path, "turns: [{user: Hi}]", f"p{at}") for at in range(6)]
    names = [each.name for each in run_cases(plain, options)]
    assert names == [f"p{at}" for at in range(6)]
    assert busy.most == 3
    timed = [case(tmp_path, "turns: [{user: Hi, expect: [{seconds: 50}]}]", f"t{at}") for at in range(3)]
    busy.most = 0
    assert all(each.passed for each in run_cases(timed, options))
    assert busy.most == 1


def test_a_run_that_breaks_has_failed_and_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    broken = case(tmp_path, "model: gone\nturns: [{user: Hi}]", "broken")
    good = case(tmp_path, "turns: [{user: Hi, script: [{answer: Hi}]}]", "good")
    outcomes = run_cases([broken, good], Options(no_model, default_model="scripted"))
    assert [each.passed for each in outcomes] == [False, True]
    assert "There is no gone" in outcomes[0].runs[0].error


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyError("x"), TimeoutError()])
def test_an_error_that_nobody_foresaw_ends_its_own_run_only(tmp_path: Path, error: Exception) -> None:
    def make(name: str, **_: Any) -> BaseChatModel:
        raise error

    broken = case(tmp_path, "model: gone\nturns: [{user: Hi}]", "broken")
    good = case(tmp_path, "turns: [{user: Hi, script: [{answer: Hi}]}]", "good")
    outcomes = run_cases([broken, good], Options(make, default_model="scripted"))
    assert [each.passed for each in outcomes] == [False, True]
    assert outcomes[0].runs[0].error.startswith(type(error).__name__)


@pytest.mark.parametrize("name", MEMORIES)
def test_a_conversation_runs_with_every_memory(tmp_path: Path, name: str) -> None:
    turns = "".join(f"- {{user: Question {at}, script: [{{answer: Answer {at}}}]}}\n" for at in range(3))
    outcome = run_one(case(tmp_path, f"memory: {name}\nturns:\n{turns}"))
    assert outcome.passed, outcome.runs[0].error
    assert outcome.runs[0].turns[-1].answer == "Answer 2"


def test_a_script_that_is_too_short_is_told(tmp_path: Path) -> None:
    outcome = run_one(case(tmp_path, "turns: [{user: Hi}]"))
    assert "script of turn 1 has 0 steps" in outcome.runs[0].error


def test_who_watches_is_told_of_each_step_and_of_the_end(tmp_path: Path) -> None:
    news: list[Any] = []
    watch: Callable[..., None] = lambda given, seed, what: news.append(what)  # noqa: E731
    run_one(SHIPPED_BY_NAME["multiplication"], watch=watch)
    kinds = [each.kind for each in news if not isinstance(each, Run)]
    assert kinds == ["thought", "action", "observation", "answer"]
    assert isinstance(news[-1], Run)


@pytest.mark.parametrize("counts", [{"seeds": 0}, {"seeds": -1}, {"at_once": 0}])
def test_scenarios_without_a_run_do_not_pass(counts: dict[str, int]) -> None:
    with pytest.raises(RequestError, match="at least 1"):
        Options(no_model, **counts)  # type: ignore[arg-type]


def test_whoever_stops_it_does_not_wait_for_the_rest(tmp_path: Path) -> None:
    from phireside.agents.scenarios.run import StoppedError

    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        run_one(SHIPPED_BY_NAME["arithmetic"], stop=stop)
