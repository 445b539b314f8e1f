"""What goes wrong with a call is told to the model, and the turn goes on."""

import asyncio
from typing import Any

import pytest
from acting import acting, acts, broken, call, observations
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import tool

from phireside.agents import Limits, build_agent
from phireside.errors import ToolError


def turn(agent: Any) -> list[BaseMessage]:
    messages: list[BaseMessage] = agent.invoke({"messages": [("user", "Go")]})["messages"]
    return messages


def raising(error: BaseException) -> Any:
    def fail(text: str) -> str:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ToolError("Nothing was found.", hint="Use other words."), "Nothing was found. Use other words."),
        (ValueError("bad value\nin line 3"), "The tool failed: ValueError: bad value"),
        (KeyError(), "The tool failed: KeyError"),
        (RecursionError("deep " * 100), "The tool failed: RecursionError: " + "deep " * 40),
        (TimeoutError("its own"), "The tool failed: TimeoutError: its own"),
        (SystemExit(3), "shout wanted to end the whole program. Go on without its result."),
        (KeyboardInterrupt(), "shout wanted to end the whole program. Go on without its result."),
        (asyncio.CancelledError(), "shout was cancelled by itself. Go on without its result."),
    ],
)
async def test_an_error_is_an_observation_with_its_hint(counted: Any, error: BaseException, told: str) -> None:
    for awaited in (False, True):
        agent = build_agent(acts(call("shout", text="a"), AIMessage("I see.")), [counted.tool("shout", raising(error))])
        result = await agent.ainvoke({"messages": [("user", "Go")]}) if awaited else None
        messages = result["messages"] if result else turn(agent)
        assert observations(messages) == [told]
        assert messages[2].status == "error"
        assert messages[-1].text == "I see."


async def test_an_async_tool_that_cancels_itself_is_told_as_well() -> None:
    @tool
    async def shout(text: str) -> str:
        """Shouts."""
        raise asyncio.CancelledError

    agent = build_agent(acts(call("shout", text="a"), AIMessage("I see.")), [shout])
    messages = (await agent.ainvoke({"messages": [("user", "Go")]}))["messages"]
    assert observations(messages)[0].endswith("Go on without its result.")
    assert messages[-1].text == "I see."


def test_an_unknown_tool_is_named_with_those_there_are(counted: Any) -> None:
    messages = turn(build_agent(acts(call("whisper", text="a"), AIMessage("ok")), [counted.tool("shout")]))
    assert "whisper is not a valid tool" in observations(messages)[0]
    assert "shout" in observations(messages)[0]


def test_arguments_that_do_not_fit_are_explained(counted: Any) -> None:
    messages = turn(build_agent(acts(call("shout", loud=True), AIMessage("ok")), [counted.tool("shout")]))
    assert "text" in observations(messages)[0]
    assert counted.runs == []
    assert messages[-1].text == "ok"


@pytest.mark.parametrize("call_id", ["c", None])
async def test_a_call_that_is_no_json_is_told_and_may_be_mended(counted: Any, call_id: str | None) -> None:
    script = (broken("shout", '{"text": "a', call_id), call("shout", text="a"), AIMessage("A"))
    for awaited in (False, True):
        agent = build_agent(acts(*script), [counted.tool("shout")])
        result = await agent.ainvoke({"messages": [("user", "Go")]}) if awaited else None
        messages = result["messages"] if result else turn(agent)
        assert [message.type for message in messages] == ["human", "ai", "tool", "ai", "tool", "ai"]
        assert observations(messages)[0].startswith("The input of shout is not complete.")
        assert messages[1].invalid_tool_calls[0]["id"] == messages[2].tool_call_id
        assert messages[-1].text == "A"


def test_one_of_two_calls_that_is_no_json_does_not_keep_the_other_from_running(counted: Any) -> None:
    both = call("shout", text="a")
    both.invalid_tool_calls = broken("shout", "{").invalid_tool_calls
    messages = turn(build_agent(acts(both, AIMessage("A")), [counted.tool("shout")]))
    assert counted.runs == [("shout", "a")]
    assert len(observations(messages)) == 2


def test_the_same_broken_call_for_ever_ends_the_turn(counted: Any) -> None:
    model = acting(lambda _: broken("shout", '{"text": "a'))
    messages = turn(build_agent(model, [counted.tool("shout")], limits=Limits(steps=50)))
    assert len(model.asked) == 3
    assert messages[-1].text == "I could not finish: the same call was made again and again."
    assert isinstance(messages[-1], AIMessage)
    assert not messages[-1].invalid_tool_calls
