"""The starter, a model of 135 million parameters, runs an agent: well-formed steps, an end, and nothing read twice."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from phireside.agents import Limits, asteps, build_agent, steps
from phireside.models import ChatGGUF
from phireside.settings import Settings
from phireside.tools import calculator

pytestmark = pytest.mark.real
SLACK = 8
QUESTIONS = [
    "What is 17 * 23?",
    "A jacket costs 80 euros, with 25% off. What does it cost?",
    "How many days are there in 12 weeks?",
    "Anna has 14 apples and gives 5 to Tom. How many are left?",
    "What is the square root of 144?",
]


@pytest.fixture
def starter(settings: Settings, starter_path: Path) -> ChatGGUF:
    return ChatGGUF(model="starter", settings=settings, temperature=0, max_tokens=60)


@tool
def look_up(words: str) -> str:
    """Searches an encyclopedia."""
    return f"There are {len(words)} pages about {words!r}. The harbour of Oslo freezes seldom. " * 12


def evaluated_again(messages: list[BaseMessage]) -> list[int]:
    """Of each call of the model after the first: tokens that it read beyond those that were new."""
    said = [message for message in messages if isinstance(message, AIMessage)]
    extra = []
    for before, after in itertools.pairwise(said):
        assert before.usage_metadata
        assert after.usage_metadata
        new = after.usage_metadata["input_tokens"] - before.usage_metadata["total_tokens"]
        extra.append(after.response_metadata["evaluated_tokens"] - new)
    return extra


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_ends_with_an_answer_after_well_formed_steps(starter: ChatGGUF, question: str) -> None:
    agent = build_agent(starter, [calculator()], limits=Limits(steps=5))
    found = list(steps(agent, question))
    assert found[-1].kind == "answer"
    assert found[-1].text.strip()
    kinds = [step.kind for step in found]
    assert kinds.count("answer") == 1
    assert kinds.count("action") == kinds.count("observation")
    for step in found:
        if step.kind == "action":
            assert step.tool == "calculator"
            assert list(step.arguments) == ["expression"]
    assert all(step.cost.generated_tokens for step in found if step.kind in ("action", "answer"))


async def test_and_when_it_is_awaited(starter: ChatGGUF) -> None:
    found = [step async for step in asteps(build_agent(starter, [calculator()], limits=Limits(steps=3)), QUESTIONS[0])]
    assert found[-1].kind == "answer"


def failing(words: str) -> str:
    """Searches an encyclopedia."""
    raise OSError("no line")


@pytest.mark.parametrize(
    ("tools", "seed"), [([calculator()], 1), ([calculator(), look_up], 2), ([look_up], 1), ([failing], 1)]
)
def test_the_scratchpad_is_never_evaluated_twice(starter: ChatGGUF, tools: list[Callable[..., Any]], seed: int) -> None:
    """Also not when an input was too long, a tool has left the grammar, and the final answer is forced."""
    measured = 0
    for attempt in range(10):  # a sampled model may answer without a second step
        model = starter.model_copy(update={"temperature": 1.0, "seed": seed + 10 * attempt, "max_tokens": 40})
        agent = build_agent(model, tools, system_prompt="You are a helpful assistant.", limits=Limits(steps=4))
        messages = agent.invoke({"messages": [HumanMessage(QUESTIONS[attempt % 2])]})["messages"]
        extra = evaluated_again(messages)
        measured += len(extra)
        assert all(each <= SLACK for each in extra), extra
        if measured:
            break
    assert measured


def test_a_forced_answer_reads_nothing_again(starter: ChatGGUF) -> None:
    """`tool_choice="none"` and a barred tool change what may be written, and not the prompt."""
    bound = starter.bind_tools([calculator(), look_up])
    messages: list[BaseMessage] = [HumanMessage("What do you know of Oslo?")]
    first = bound.invoke(messages, tool_choice="look_up")
    messages += [first, ToolMessage("Oslo is in Norway.", tool_call_id=first.tool_calls[0]["id"])]
    for options in ({}, {"barred": ["look_up"]}, {"tool_choice": "none"}):
        answer = bound.invoke(messages, **options)
        assert all(each <= SLACK for each in evaluated_again([first, answer]))
        assert not options or "look_up" not in [call["name"] for call in answer.tool_calls]


def test_time_that_is_over_ends_an_answer_in_order(settings: Settings, tiny_chatml: Path) -> None:
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=0, max_tokens=3900)  # it never ends
    model.invoke("Hi", max_tokens=1)  # loads the model
    agent = build_agent(model, [], limits=Limits(seconds=1.0))
    last = agent.invoke({"messages": [("user", "Write a very long story.")]})["messages"][-1]
    assert last.text.strip()
    assert last.usage_metadata["output_tokens"]
    assert last.response_metadata["ended_by"] == "seconds"
    assert last.response_metadata["finish_reason"] == "cancelled"
