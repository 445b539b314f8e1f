"""Cassettes: what is recorded can be read, replays without a model, and a miss shows the first difference."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from phireside.agents.scenarios import Case, Options, Outcome, load, run_cases
from phireside.agents.scenarios.cassette import Cassette, taped
from phireside.errors import SettingsError, ToolError
from phireside.models import ChatGGUF, load_chat_model
from phireside.settings import Settings

TEXT = """
model: fake
tools: [calculator]
turns:
  - user: What is 2 + 3?
    expect: [{tool: calculator}, {contains: "5"}, {observed: "5"}, {tokens: 3}, {judged: "Is it right?"}]
"""


class Fake(BaseChatModel):
    """Calls the calculator, then answers; or says yes to a judge. Counts how often it was asked."""

    asked: list[Any]
    seed: int | None = None

    @property
    def _llm_type(self) -> str:
        return "fake"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": "fake"}

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self.bind(tools=list(tools), **kwargs)

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append([message.text for message in messages])
        usage: Any = {"input_tokens": 10, "output_tokens": 1, "total_tokens": 11}
        call = {"name": "calculator", "args": {"expression": "2 + 3"}, "id": f"c{len(self.asked)}"}
        if kwargs.get("tool_choice") == "any":  # the judge's form
            answer = {"name": kwargs["tools"][0]["title"], "args": {"answer": "yes"}, "id": "form"}
            message = AIMessage("", tool_calls=[answer], usage_metadata=usage)
        elif kwargs.get("tools") and messages[-1].type == "human":
            message = AIMessage("I count.", tool_calls=[call], usage_metadata=usage)
        else:
            message = AIMessage("It is 5.", usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


def case(folder: Path, text: str = TEXT) -> Case:
    (folder / "sum.yaml").write_text(text)
    return load([folder / "sum.yaml"])[0]


def recorded(folder: Path, text: str = TEXT) -> tuple[Outcome, str]:
    options = Options(lambda name, **_: Fake(asked=[]), cassettes=folder / "tapes", tape="record")
    (outcome,) = run_cases([case(folder, text)], options)
    return outcome, (folder / "tapes" / "sum.cassette.yaml").read_text()


def replayed(folder: Path, text: str = TEXT) -> tuple[Outcome, Fake]:
    fake = Fake(asked=[])
    (outcome,) = run_cases([case(folder, text)], Options(lambda name, **_: fake, cassettes=folder / "tapes"))
    return outcome, fake


def said(outcome: Outcome) -> Any:
    run = outcome.runs[0]
    return [list(turn.lines) for turn in run.turns], [turn.cost for turn in run.turns], run.checks


def test_a_replay_says_the_same_and_asks_nobody(tmp_path: Path) -> None:
    first, text = recorded(tmp_path)
    assert first.passed, first.runs[0]
    again, fake = replayed(tmp_path)
    assert said(again) == said(first)
    assert fake.asked == []
    assert (tmp_path / "tapes" / "sum.cassette.yaml").read_text() == text


def test_a_cassette_can_be_read_and_corrected_by_people(tmp_path: Path) -> None:
    _, text = recorded(tmp_path)
    data = yaml.safe_load(text)
    assert (data["version"], data["model"]) == (1, "fake")
    assert "human: What is 2 + 3?" in text
    assert [each.get("tool") for each in data["answers"]].count("calculator") == 1
    (tmp_path / "tapes" / "sum.cassette.yaml").write_text(text.replace("text: It is 5.", "text: It is 6."))
    assert replayed(tmp_path)[0].runs[0].turns[0].answer == "It is 6."


def test_a_miss_shows_the_first_difference(tmp_path: Path) -> None:
    recorded(tmp_path)
    outcome, fake = replayed(tmp_path, TEXT.replace("2 + 3?", "2 + 4?"))
    assert not outcome.passed
    assert fake.asked == []
    error = outcome.runs[0].error
    assert "sum.cassette.yaml has no answer" in error
    assert "recorded: 'human: What is 2 + 3?'" in error
    assert "now:      'human: What is 2 + 4?'" in error


def test_a_miss_of_a_tool_is_shown_too(tmp_path: Path) -> None:
    recorded(tmp_path)
    tape = Cassette(tmp_path / "tapes", "sum", "replay")
    with pytest.raises(SettingsError, match=r"recorded: 'expression: 2 \+ 3'\n +now: +'expression: 2 \+ 4'"):
        tape.tool("calculator", {"expression": "2 + 4"}, lambda: "never")


def test_what_one_run_has_missed_is_no_fault_of_another(tmp_path: Path) -> None:
    def make(name: str, seed: int, **_: Any) -> Fake:
        return Fake(asked=[], seed=seed)

    run_cases([case(tmp_path, TEXT + "seeds: [1]\n")], Options(make, cassettes=tmp_path, tape="record"))
    both = case(tmp_path, TEXT + "seeds: [2, 1]\n")
    (outcome,) = run_cases([both], Options(make, cassettes=tmp_path, at_once=1))
    assert [(run.seed, run.passed) for run in outcome.runs] == [(2, False), (1, True)]
    assert "has no answer" in outcome.runs[0].error


def test_a_recording_that_breaks_leaves_the_earlier_one(tmp_path: Path) -> None:
    _, text = recorded(tmp_path)

    def gone(name: str, **_: Any) -> BaseChatModel:
        raise SettingsError("There is no such model now.")

    (outcome,) = run_cases([case(tmp_path)], Options(gone, cassettes=tmp_path / "tapes", tape="record"))
    assert outcome.runs[0].error
    assert (tmp_path / "tapes" / "sum.cassette.yaml").read_text() == text


def test_errors_of_tools_are_kept(tmp_path: Path) -> None:
    tape = Cassette(tmp_path, "t", "record")

    def fail() -> str:
        raise ToolError("It is closed.", hint="Come back.")

    with pytest.raises(ToolError):
        tape.tool("shop", {"x": 1}, fail)
    tape.save()
    with pytest.raises(ToolError, match=r"It is closed\. Come back\."):
        Cassette(tmp_path, "t", "replay").tool("shop", {"x": 1}, lambda: "open")


def test_answers_to_one_prompt_come_in_their_order(tmp_path: Path) -> None:
    tape, results = Cassette(tmp_path, "t", "record"), iter("abc")
    for _ in range(2):
        tape.tool("dice", {}, lambda: next(results))
    tape.save()
    again = Cassette(tmp_path, "t", "replay")
    assert [again.tool("dice", {}, str) for _ in range(3)] == ["a", "b", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "version: 2\n", "version: !!int ''", "{", "\x00", "[" * 2000,
        *(
            f"version: 1\nmodel: x\nanswers: [{answer}]\ncounts: {{}}\n"
            for answer in ("5", "{prompt: p, with: 3, answer: {text: t}}", "{prompt: p, with: {}, answer: {}}",
                           "{tool: t, arguments: 3, returned: x}", "{tool: t, arguments: {}}")
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_no_cassette_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.cassette.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"t\.cassette\.yaml cannot be used"):
        Cassette(tmp_path, "t", "replay")


def test_a_missing_cassette_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no cassette"):
        replayed(tmp_path)


def test_texts_of_all_kinds_survive(tmp_path: Path) -> None:
    odd = "a: b\n- ‏שלום 🎈\t\n\n  # x\r\n'\"\\ \u2028 end "
    tape = Cassette(tmp_path, "t", "record")
    model = taped(Fake(asked=[]), tape)
    assert isinstance(model, Fake)
    model.invoke([SystemMessage(odd), HumanMessage(odd)])
    tape.tool("t", {"odd": odd}, lambda: odd)
    tape.save()
    again = Cassette(tmp_path, "t", "replay")
    assert again.tool("t", {"odd": odd}, str) == odd
    assert taped(Fake(asked=[]), again).invoke([SystemMessage(odd), HumanMessage(odd)]).text == "It is 5."


@pytest.mark.real
def test_the_starters_run_replays_without_its_weights(
    tmp_path: Path, starter_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (given,) = load([Path(__file__).parent.parent.parent / "scenarios" / "multiplication.yaml"])

    def make(name: str, **more: Any) -> BaseChatModel:
        return load_chat_model(name, settings, **more)

    (first,) = run_cases([given], Options(make, model="starter", cassettes=tmp_path, tape="record"))

    def opened(*_: Any) -> None:
        raise AssertionError("The weights were opened.")

    monkeypatch.setattr(ChatGGUF, "_open", opened)
    (again,) = run_cases([given], Options(make, cassettes=tmp_path))
    assert said(again) == said(first), again.runs[0].error
    assert again.model == "starter"
    assert again.passed == first.passed
