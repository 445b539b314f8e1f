"""No tool keeps an agent: one that hangs is left running, and that is said."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from acting import acting, acts, call, observations
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool, tool

from phireside.agents import Limits, build_agent, left_running
from phireside.agents.policies.tool_time import MOST_LEFT

QUICK = Limits(tool_seconds=0.15)


@pytest.fixture
def hanging() -> Iterator[BaseTool]:
    """A tool that blocks until the test is over."""
    free = threading.Event()

    @tool
    def hang(text: str) -> str:
        """Waits."""
        free.wait(30)
        return "late"

    yield hang
    free.set()
    while left():
        time.sleep(0.01)


def left() -> list[str]:
    """What is left running of the tools of this file; others may have left theirs."""
    return [name for name in left_running() if name in ("hang", "wait")]


async def turn(agent: Any, *, awaited: bool) -> list[BaseMessage]:
    given: Any = {"messages": [("user", "Go")]}
    result = await agent.ainvoke(given) if awaited else agent.invoke(given)
    messages: list[BaseMessage] = result["messages"]
    return messages


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_tool_that_hangs_is_left_and_the_agent_goes_on(hanging: BaseTool, awaited: bool) -> None:
    agent = build_agent(acts(call("hang", text="a"), AIMessage("Without it, then.")), [hanging], limits=QUICK)
    messages = await turn(agent, awaited=awaited)
    assert observations(messages) == ["hang took longer than 0.15 s and was left. Go on without its result."]
    assert messages[-1].text == "Without it, then."
    assert left() == ["hang"]


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_tool_that_hangs_again_and_again_is_not_started_any_more(hanging: BaseTool, awaited: bool) -> None:
    script = [call("hang", text=str(number)) for number in range(MOST_LEFT + 1)]
    messages = await turn(build_agent(acts(*script, AIMessage("No.")), [hanging], limits=QUICK), awaited=awaited)
    assert left() == ["hang"] * MOST_LEFT
    assert observations(messages)[-1] == f"hang hangs: {MOST_LEFT} calls of it have not ended. Do without it."


async def test_an_async_tool_is_cancelled() -> None:
    seen = []

    @tool
    async def wait(text: str) -> str:
        """Waits."""
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append(text)
            raise
        return "late"

    agent = build_agent(acts(call("wait", text="a"), AIMessage("ok")), [wait], limits=QUICK)
    assert observations(await turn(agent, awaited=True))[0].startswith("wait took longer than")
    assert seen == ["a"]
    assert left() == []


async def test_an_async_tool_runs_in_the_callers_loop() -> None:
    loops = []

    @tool
    async def where(text: str) -> str:
        """Says where."""
        loops.append(asyncio.get_running_loop())
        return "here"

    agent = build_agent(acts(call("where", text="a"), AIMessage("ok")), [where])
    assert observations(await turn(agent, awaited=True)) == ["here"]
    assert loops == [asyncio.get_running_loop()]


async def test_a_turn_without_time_starts_no_tool(counted: Any) -> None:
    def slow(messages: Any) -> AIMessage:
        time.sleep(0.2)
        return call("shout", text="a")

    agent = build_agent(acting(slow), [counted.tool("shout")], limits=Limits(seconds=0.3, tool_seconds=9))
    messages = await turn(agent, awaited=False)
    assert len(counted.runs) <= 1
    assert messages[-1].text.startswith("I could not finish")


def test_the_time_of_each_call_is_noted(counted: Any) -> None:
    agent = build_agent(acts(call("shout", text="a"), AIMessage("ok")), [counted.tool("shout")])
    messages = agent.invoke({"messages": [("user", "Go")]})["messages"]
    assert [0 <= message.response_metadata["seconds"] < 5 for message in messages[1:]] == [True] * 3


PROGRAM = """
import asyncio, sys, time
sys.path.insert(0, {plugins!r})
from acting import acts, call
from langchain_core.messages import AIMessage
from phireside.agents import Limits, build_agent

def hang(text: str) -> str:
    '''Waits.'''
    time.sleep(600)

agent = build_agent(acts(call("hang", text="a"), AIMessage("done")), [hang], limits=Limits(tool_seconds=0.1))
given = {{"messages": [("user", "Go")]}}
result = asyncio.run(agent.ainvoke(given)) if {awaited} else agent.invoke(given)
print(result["messages"][-1].text)
"""


@pytest.mark.parametrize("awaited", [False, True])
def test_a_program_ends_though_a_tool_still_hangs(root: Any, awaited: bool) -> None:
    code = PROGRAM.format(plugins=str(root / "tests" / "plugins"), awaited=awaited)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=100, check=False)
    assert done.stdout == "done\n", done.stderr


async def test_who_cancels_the_agent_is_obeyed() -> None:
    begun = asyncio.Event()

    @tool
    async def wait(text: str) -> str:
        """Waits."""
        begun.set()
        await asyncio.sleep(30)
        return "late"

    agent = build_agent(acts(call("wait", text="a"), AIMessage("ok")), [wait])
    running = asyncio.ensure_future(turn(agent, awaited=True))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
