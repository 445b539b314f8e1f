"""The first calculation of a word problem is the most probable of all that can be built from its numbers."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from acting import acts, observations
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from scoring import Scoring

from phireside.agents import ChosenCalculation, Limits, build_agent, steps
from phireside.agents.policies.chosen_calculation import PROBABILITY
from phireside.agents.policies.numbers import calculations, numbers_in
from phireside.agents.policies.worked_problems import WORKED
from phireside.errors import ContextOverflowError
from phireside.models import ChatGGUF, Score, StopSignal
from phireside.settings import Settings
from phireside.tools import calculator
from phireside.tools.arithmetic import evaluate

PROBLEM = "Dan had 9 pens and gave 3 of them away. How many are left?"


class Solver(Scoring):
    """Prefers what `rule` says, and answers in words what was worked out."""

    wrote: list[list[BaseMessage]] = []  # noqa: RUF012 (pydantic copies it)

    def score(
        self, messages: Any, continuations: Sequence[str], *, whole: bool = False, signal: Any = None
    ) -> list[Score]:
        assert whole
        self.asked.append((messages, list(continuations)))
        return [Score(self.rule(messages[-1].text, text), len(text.split())) for text in continuations]

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.wrote.append(messages)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Done."))])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate(messages)


def solver(best: str) -> Solver:
    return Solver(rule=lambda _, text: 0.0 if text == best else -2.0, asked=[], wrote=[])


def ask(model: Any, text: str = PROBLEM, **options: Any) -> list[BaseMessage]:
    agent = build_agent(model, [calculator()], middleware=[ChosenCalculation()], **options)
    messages: list[BaseMessage] = agent.invoke({"messages": [("user", text)]})["messages"]
    return messages


def test_calculations_count_something() -> None:
    assert calculations(["9", "3"]) == ["9 + 3", "9 * 3", "9 - 3", "9 / 3"]
    assert calculations(["3", "8"]) == ["3 + 8", "3 * 8", "8 - 3"]
    assert calculations(["4", "4"]) == ["4 + 4", "4 * 4"]
    assert calculations(["5"]) == calculations([]) == []


@hypothesis.settings(deadline=None, max_examples=40)
@given(st.lists(st.decimals(0, 500, places=1).map(str), min_size=2, max_size=5))
def test_each_is_there_once_and_worth_a_number_that_is_not_below_zero(numbers: list[str]) -> None:
    found = calculations(numbers)
    assert len(set(found)) == len(found)
    for each in found:
        assert Decimal(evaluate(each)) >= 0
        assert set(numbers_in(each)) <= set(numbers)


def test_the_worked_problems_are_right_and_can_be_chosen() -> None:
    for question, answer in WORKED:
        assert answer in calculations(numbers_in(question)) or len(numbers_in(answer)) > 2
        assert set(numbers_in(answer)) <= set(numbers_in(question))


def test_the_best_is_called_and_the_model_answers(counted: Any) -> None:
    model = solver("9 - 3")
    messages = ask(model)
    (prompt, options), *more = model.asked
    assert not more
    assert options == ["9 + 3", "9 * 3", "9 - 3", "9 / 3"]
    assert [message.text for message in prompt[-3:]] == [*WORKED[-1], PROBLEM]
    assert observations(messages) == ["6"]
    assert messages[1].response_metadata[PROBABILITY] == pytest.approx(1 / (1 + 3 * 0.1353), abs=1e-3)
    assert messages[1].usage_metadata["output_tokens"] == 0
    assert [message.type for message in model.wrote[0]] == ["human", "ai", "tool"]
    assert messages[-1].text == "Done."


async def test_and_when_it_is_awaited() -> None:
    agent = build_agent(solver("9 / 3"), [calculator()], middleware=[ChosenCalculation()])
    assert observations((await agent.ainvoke({"messages": [("user", PROBLEM)]}))["messages"]) == ["3"]


@pytest.mark.parametrize(
    "text",
    ["Hello!", "What is 17 * 23?", "What is 15% of 80?", "What is 10000 - 1?", "I am 31.", "It was -5 and fell by 3."],
)
def test_what_is_no_word_problem_is_the_models(text: str) -> None:
    model = solver("")
    assert observations(ask(model, text)) == []
    assert model.wrote
    assert not model.asked


def test_so_it_is_where_no_call_may_be_made(counted: Any) -> None:
    model = solver("")
    assert ask(model, limits=Limits(steps=1))[-1].text == "Done."
    agent = build_agent(model, [counted.tool("shout")], middleware=[ChosenCalculation()])
    assert agent.invoke({"messages": [("user", PROBLEM)]})["messages"][-1].text == "Done."
    assert not model.asked


def test_a_model_without_scores_is_asked_as_always() -> None:
    model = acts(AIMessage("6"))
    assert ask(model)[-1].text == "6"


async def test_a_prompt_that_does_not_fit_with_the_examples_is_the_models() -> None:
    class Small(Solver):
        def score(self, *args: Any, **kwargs: Any) -> list[Score]:
            raise ContextOverflowError("700 tokens do not fit into 512.")

        async def ascore(self, *args: Any, **kwargs: Any) -> list[Score]:
            return self.score()

    for seconds in (None, 60):
        model = Small(rule=lambda *_: 0.0, asked=[], wrote=[])
        assert ask(model, limits=Limits(seconds=seconds))[-1].text == "Done."
        agent = build_agent(model, [calculator()], middleware=[ChosenCalculation()], limits=Limits(seconds=seconds))
        assert (await agent.ainvoke({"messages": [("user", PROBLEM)]}))["messages"][-1].text == "Done."


async def test_a_limit_in_seconds_stops_the_choice() -> None:
    signals: list[Any] = []

    class Watched(Solver):
        def score(self, *args: Any, signal: Any = None, **kwargs: Any) -> list[Score]:
            signals.append(signal)
            return super().score(*args, signal=signal, **kwargs)

    model = Watched(rule=lambda *_: 0.0, asked=[], wrote=[])
    agent = build_agent(model, [calculator()], middleware=[ChosenCalculation()])
    await agent.ainvoke({"messages": [("user", PROBLEM)]})
    ask(model)
    assert [isinstance(each, StopSignal) for each in signals] == [True, True]


@pytest.mark.real
def test_the_starter_takes_away_what_was_given_away(settings: Settings, starter_path: Path) -> None:
    model = ChatGGUF(model="starter", settings=settings, temperature=0, max_tokens=40)
    agent = build_agent(
        model, [calculator()], middleware=[ChosenCalculation(worked=WORKED[:4])], limits=Limits(steps=2)
    )
    found = list(steps(agent, PROBLEM))
    assert [(step.tool, step.arguments.get("expression")) for step in found if step.kind == "action"] == [
        ("calculator", "9 - 3")
    ]
    assert found[-1].kind == "answer"
