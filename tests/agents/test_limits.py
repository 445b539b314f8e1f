"""At a limit the model gives a final answer, which has a text whatever the model does."""

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from acting import acting, acts, call
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from phireside.agents import Limits, build_agent, left_running

USAGE = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110, "input_token_details": {"cache_read": 90}}


def turn(agent: Any) -> list[BaseMessage]:
    messages: list[BaseMessage] = agent.invoke({"messages": [("user", "Go")]})["messages"]
    return messages


def counting() -> Any:
    """A model that calls `shout` for ever, each time with another text, if it has tools; else it says what it knows."""
    numbers = iter(range(10**6))

    def act(messages: list[BaseMessage]) -> AIMessage:
        if model.options[-1].get("tools"):
            return call("shout", text=str(next(numbers)))
        return AIMessage("What I know.")

    model = acting(act)
    return model


@pytest.mark.parametrize("most", [1, 2, 8])
def test_the_last_step_can_only_answer(counted: Any, most: int) -> None:
    model = counting()
    messages = turn(build_agent(model, [counted.tool("shout")], limits=Limits(steps=most)))
    assert len(model.asked) == most
    assert len(counted.runs) == most - 1
    assert messages[-1].text == "What I know."
    assert messages[-1].response_metadata["ended_by"] == "steps"


def test_a_model_that_calls_even_then_is_not_listened_to(counted: Any) -> None:
    numbers = iter(range(100))
    model = acting(lambda _: call("shout", text=str(next(numbers))))
    messages = turn(build_agent(model, [counted.tool("shout", lambda text: "x" * 400)], limits=Limits(steps=3)))
    assert len(counted.runs) == 2
    last = messages[-1]
    assert isinstance(last, AIMessage)
    assert not last.tool_calls
    shown = "x" * 300 + "…"
    assert last.text == f"I could not finish: the limit of 3 steps was reached. The last result was: {shown}"


def test_tokens_are_those_that_were_really_read_and_written(counted: Any) -> None:
    numbers = iter(range(100))
    model = acting(lambda _: call("shout", text=str(next(numbers))).model_copy(update={"usage_metadata": USAGE}))
    messages = turn(build_agent(model, [counted.tool("shout")], limits=Limits(tokens=50, steps=20)))
    assert len(model.asked) == 4  # after three there are 60
    assert messages[-1].response_metadata["ended_by"] == "tokens"


def test_seconds_are_those_of_the_whole_turn(counted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, clock = counting(), [0.0]
    monkeypatch.setattr("phireside.agents.policies.limits.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def slow(text: str) -> str:
        clock[0] += 100
        return text

    messages = turn(build_agent(model, [counted.tool("shout", slow)], limits=Limits(seconds=350, steps=1000)))
    assert messages[-1].response_metadata["ended_by"] == "seconds"
    assert messages[-1].text == "What I know."
    assert len(counted.runs) == 4


def test_a_model_that_never_comes_back_is_left_and_the_turn_has_an_answer() -> None:
    free = threading.Event()

    def hang(messages: list[BaseMessage]) -> AIMessage:
        free.wait(30)
        return AIMessage("late")

    messages = turn(build_agent(acting(hang), [], limits=Limits(seconds=1)))
    assert messages[-1].text == "I could not finish: the model did not answer within 1 s."
    assert "the model" in left_running()
    free.set()
    while "the model" in left_running():
        time.sleep(0.01)


async def test_also_when_it_is_awaited() -> None:
    class Hanging(type(acts())):  # type: ignore[misc]
        async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(30)

    agent = build_agent(Hanging(act=None, asked=[], options=[]), [], limits=Limits(seconds=1))
    messages = (await agent.ainvoke({"messages": [("user", "Go")]}))["messages"]
    assert messages[-1].text.startswith("I could not finish: the model did not answer")


@pytest.mark.parametrize("empty", [AIMessage(""), AIMessage("  \n"), AIMessage([{"type": "text", "text": " "}])])
def test_an_empty_answer_is_asked_for_once_more(empty: AIMessage, counted: Any) -> None:
    model = acts(empty, AIMessage("Now I know."))
    messages = turn(build_agent(model, [counted.tool("shout")]))
    assert [message.type for message in messages] == ["human", "ai"]
    assert messages[-1].text == "Now I know."
    assert model.options[-1].get("tools") is None


def test_and_is_never_what_a_person_gets() -> None:
    model = acts(then=AIMessage(""))
    messages = turn(build_agent(model, []))
    assert messages[-1].text == "I could not finish: the model gave an empty answer."
    assert len(model.asked) == 2


def test_an_error_of_the_model_is_the_callers() -> None:
    def fail(messages: list[BaseMessage]) -> AIMessage:
        raise ConnectionError("no server")

    with pytest.raises(ConnectionError, match="no server"):
        turn(build_agent(acting(fail), []))


def test_without_a_limit_in_seconds_the_model_runs_in_the_callers_thread() -> None:
    seen: list[str] = []

    def act(messages: list[BaseMessage]) -> AIMessage:
        seen.append(threading.current_thread().name)
        return AIMessage("ok")

    turn(build_agent(acting(act), [], limits=Limits(seconds=None)))
    turn(build_agent(acting(act), [], limits=Limits(seconds=9)))
    assert seen[0] != "the model"
    assert seen[1] == "the model"


def test_what_a_turn_took_is_not_part_of_its_result(counted: Any) -> None:
    config: Any = {"configurable": {"thread_id": "1"}}
    agent = build_agent(acts(AIMessage("ok")), [], checkpointer=InMemorySaver())
    result = agent.invoke({"messages": [HumanMessage("Go")]}, config)
    assert set(result) == {"messages"}
    assert "run_started" not in agent.get_state(config).values
