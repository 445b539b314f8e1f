"""The same call is not run twice; then its tool cannot be called; then the turn ends."""

from typing import Any

import pytest
from acting import acting, acts, call, calls, observations
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from phireside.agents import Limits, build_agent
from phireside.agents.policies.repeated_calls import AGAIN, wasted_calls
from phireside.errors import ToolError

MANY = Limits(steps=50)


def turn(agent: Any, config: Any = None) -> list[BaseMessage]:
    messages: list[BaseMessage] = agent.invoke({"messages": [("user", "Go")]}, config)["messages"]
    return messages


def test_a_repeated_call_gets_the_same_result_and_its_tool_is_taken_away(counted: Any) -> None:
    model = acts(call("shout", text="hi"), call("shout", text="hi"), AIMessage("HI"))
    messages = turn(build_agent(model, [counted.tool("shout"), counted.tool("sing")]))
    assert counted.runs == [("shout", "hi")]
    assert observations(messages) == ["HI", AGAIN + "HI"]
    assert [options.get("tools") for options in model.options] == [["shout", "sing"]] * 2 + [["sing"]]
    assert messages[-1].text == "HI"
    assert "ended_by" not in messages[-1].response_metadata


def test_other_arguments_are_another_call(counted: Any) -> None:
    model = acts(call("shout", text="a"), call("shout", text="b"), AIMessage("AB"))
    turn(build_agent(model, [counted.tool("shout")]))
    assert counted.runs == [("shout", "a"), ("shout", "b")]
    assert [options.get("tools") for options in model.options] == [["shout"]] * 3


def test_a_call_that_failed_is_run_once_more_and_not_a_third_time(counted: Any) -> None:
    def fail(text: str) -> str:
        raise ToolError("No line.")

    model = acts(*[call("dial", text="1")] * 3, then=AIMessage("It does not work."))
    messages = turn(build_agent(model, [counted.tool("dial", fail), counted.tool("sing")]))
    assert len(counted.runs) == 2
    assert observations(messages) == ["No line.", "No line.", AGAIN + "No line."]
    assert messages[-1].response_metadata["ended_by"] == "repeated calls"


def test_with_the_last_tool_gone_only_an_answer_is_left(counted: Any) -> None:
    model = acts(call("a", text="1"), call("b", text="1"), call("a", text="1"), call("b", text="1"), AIMessage("Done."))
    messages = turn(build_agent(model, [counted.tool("a"), counted.tool("b")], limits=MANY))
    assert len(counted.runs) == 2
    assert len(model.asked) == 5
    assert messages[-1].text == "Done."
    assert messages[-1].response_metadata["ended_by"] == "repeated calls"


def test_a_model_that_repeats_itself_for_ever_is_ended(counted: Any) -> None:
    model = acting(lambda _: call("a", text="1"))
    messages = turn(build_agent(model, [counted.tool("a"), counted.tool("b")], limits=MANY))
    assert counted.runs == [("a", "1")]
    assert len(model.asked) == 4
    assert messages[-1].text == "I could not finish: the same call was made again and again. The last result was: " + (
        AGAIN + "1"
    )


def test_the_order_of_the_arguments_makes_no_difference() -> None:
    runs = []

    def add(a: int, b: int) -> int:
        """Adds."""
        runs.append((a, b))
        return a + b

    turn(build_agent(acts(call("add", a=1, b=2), call("add", b=2, a=1), AIMessage("3")), [add]))
    assert runs == [(1, 2)]


def test_a_model_that_gives_every_call_the_same_id_is_understood(counted: Any) -> None:
    def same(name: str, text: str) -> AIMessage:
        return AIMessage("", tool_calls=[{"name": name, "args": {"text": text}, "id": "0", "type": "tool_call"}])

    model = acts(same("a", "1"), same("a", "2"), same("a", "1"), AIMessage("ok"))
    messages = turn(build_agent(model, [counted.tool("a"), counted.tool("b")]))
    assert counted.runs == [("a", "1"), ("a", "2")]
    assert observations(messages) == ["1", "2", AGAIN + "1"]


@pytest.mark.parametrize(("second", "runs"), [("2", ["1", "2"]), ("1", ["1"])])
def test_calls_of_one_message_with_the_same_id_are_told_apart(counted: Any, second: str, runs: list[str]) -> None:
    both = calls(("a", {"text": "1"}), ("a", {"text": second}))
    for each in both.tool_calls:
        each["id"] = "c"
    messages = turn(build_agent(acts(both, AIMessage("ok")), [counted.tool("a")]))
    assert sorted(text for _, text in counted.runs) == runs
    assert len(observations(messages)) == len({each["id"] for each in messages[1].tool_calls}) == 2  # type: ignore[attr-defined]


def test_twice_in_one_message_is_run_once(counted: Any) -> None:
    model = acts(calls(("a", {"text": "1"}), ("a", {"text": "1"})), AIMessage("ok"))
    messages = turn(build_agent(model, [counted.tool("a")]))
    assert counted.runs == [("a", "1")]
    assert observations(messages) == ["1", AGAIN + "it is still to come."]


def test_the_next_turn_begins_anew(counted: Any) -> None:
    model = acts(call("a", text="1"), AIMessage("ok"), call("a", text="1"), AIMessage("ok"))
    agent = build_agent(model, [counted.tool("a")], checkpointer=InMemorySaver())
    for _ in range(2):
        messages = turn(agent, {"configurable": {"thread_id": "1"}})
    assert counted.runs == [("a", "1")] * 2
    assert observations(messages) == ["1", "1"]


@pytest.mark.parametrize(
    ("answers", "wasted"),
    [
        (["ok"], 0),
        (["failed"], 0),
        (["ok", "repeated"], 1),
        (["failed", "failed"], 1),
        (["failed", "ok"], 0),
        (["ok", "ok", "ok"], 0),  # read on
        (["ok", "repeated", "repeated"], 2),
    ],
)
def test_a_call_is_wasted_if_it_tells_nothing_new(answers: list[str], wasted: int) -> None:
    messages: list[BaseMessage] = [HumanMessage("old"), call("a", text="1"), HumanMessage("Go")]
    for answer in answers:
        asked = call("a", text="1")
        metadata = {"repeated": True} if answer == "repeated" else {}
        status: Any = "error" if answer == "failed" else "success"
        reply = ToolMessage("x", tool_call_id=asked.tool_calls[0]["id"], status=status, response_metadata=metadata)
        messages += [asked, reply]
    assert sum(wasted_calls(messages).values()) == wasted
