"""Row 6: an agent whose model never stops of its own accord ends by steps, by seconds and by the repeated-call rule."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from acting import Acting, acting, broken, call, calls
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool, tool

from phireside.agents import Limits, build_agent, left_running

Figure = Callable[[int, str], None]
SECONDS = 1.0

WORST: list[tuple[int, float]] = []  # of each run: calls of tools, seconds


@pytest.fixture(scope="module", autouse=True)
def _left_alone() -> Iterator[None]:
    yield
    while left_running():
        time.sleep(0.05)


def tools(runs: list[str]) -> list[BaseTool]:
    def do(name: str) -> BaseTool:
        def run(text: str) -> str:
            """Does something."""
            runs.append(name)
            return text

        return tool(name)(run)

    return [do("one"), do("two")]


def hanging(messages: list[BaseMessage]) -> AIMessage:
    time.sleep(2)
    return AIMessage("late")


def models() -> dict[str, Acting]:
    """Each does its worst for ever, whatever it is allowed."""
    number = itertools.count()
    ping_pong = itertools.cycle(["one", "two"])
    return {
        "the same call": acting(lambda _: call("one", text="a")),
        "ping-pong of two tools": acting(lambda _: call(next(ping_pong), text="a")),
        "ever new arguments": acting(lambda _: call("one", text=str(next(number)))),
        "an unknown tool": acting(lambda _: call("three", text="a")),
        "ever new unknown tools": acting(lambda _: call(f"tool{next(number)}", text="a")),
        "wrong arguments": acting(lambda _: call("one", wrong=True)),
        "bad JSON": acting(lambda _: broken("one", '{"text": "a')),
        "ever new bad JSON": acting(lambda _: broken("one", f'{{"text": "{next(number)}')),
        "bad JSON without an id": acting(lambda _: broken("one", "{", None)),
        "empty text": acting(lambda _: AIMessage("")),
        "blanks": acting(lambda _: AIMessage(" \n\t")),
        "forty calls at once": acting(lambda _: calls(*[("one", {"text": str(next(number))}) for _ in range(40)])),
    }


def turn(model: Acting, limits: Limits, figure: Figure | None = None) -> tuple[AIMessage, list[str]]:
    runs: list[str] = []
    begun = time.monotonic()
    last = build_agent(model, tools(runs), limits=limits).invoke({"messages": [("user", "Go")]})["messages"][-1]
    WORST.append((len(runs), time.monotonic() - begun))
    assert isinstance(last, AIMessage)
    assert last.text.strip()
    assert not last.tool_calls
    assert not last.invalid_tool_calls
    return last, runs


@pytest.mark.parametrize("name", models())
def test_it_ends_by_steps(name: str) -> None:
    model = models()[name]
    last, runs = turn(model, Limits(steps=8, seconds=None))
    assert last.response_metadata["ended_by"]
    assert len(model.asked) <= 8
    assert len(runs) <= (7 * 40 if "forty" in name else 7)


@pytest.mark.parametrize("name", models())
def test_it_ends_by_seconds(name: str) -> None:
    model = models()[name]
    quick, model.act = model.act, lambda messages: time.sleep(0.01) or quick(messages)
    last, _ = turn(model, Limits(steps=10**6, seconds=SECONDS))
    assert last.response_metadata["ended_by"] in ("seconds", "repeated calls", "empty answer")


@pytest.mark.parametrize(
    ("name", "runs", "asked"),
    [("the same call", 1, 4), ("ping-pong of two tools", 2, 5), ("an unknown tool", 0, 4), ("bad JSON", 0, 4)],
)
def test_it_ends_by_the_rule_of_repeated_calls(name: str, runs: int, asked: int) -> None:
    model = models()[name]
    last, ran = turn(model, Limits(steps=10**6, seconds=None))
    assert last.response_metadata["ended_by"] == "repeated calls"
    assert len(ran) == runs
    assert len(model.asked) == asked


def test_it_ends_if_the_model_hangs() -> None:
    last, _ = turn(acting(hanging), Limits(seconds=0.3))
    assert "did not answer" in last.text


async def test_it_ends_when_awaited() -> None:
    for model in models().values():
        agent = build_agent(model, tools([]), limits=Limits(steps=8))
        messages: Any = (await agent.ainvoke({"messages": [("user", "Go")]}))["messages"]
        assert messages[-1].text.strip()


def test_the_figures(figure: Figure) -> None:
    """Last in this file: what the others saw, if they ran."""
    turn(models()["the same call"], Limits(steps=8, seconds=None))
    calls_made, seconds = max(runs for runs, _ in WORST), max(took for _, took in WORST)
    figure(
        6,
        f"0 of {len(WORST)} runs did not end or ended without a text; at most {calls_made} calls of tools, "
        f"{seconds:.1f} s with a limit of {SECONDS:g} s",
    )
    assert WORST
