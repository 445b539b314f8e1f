"""The last result is the answer, where the model says another number."""

from typing import Any

import pytest
from acting import acts, call, calls
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from phireside.agents import BoundAnswer, Limits, build_agent
from phireside.agents.policies.bound_answer import SAID
from phireside.errors import ToolError


def last(counted: Any, result: Any, answer: str, **metadata: Any) -> BaseMessage:
    """An agent's answer after one result."""

    def give(text: str) -> str:
        if isinstance(result, Exception):
            raise result
        return str(result)

    model = acts(call("work", text="it"), AIMessage(answer))
    agent = build_agent(model, [counted.tool("work", give, **metadata)], middleware=[BoundAnswer()])
    message: BaseMessage = agent.invoke({"messages": [("user", "Go")]})["messages"][-1]
    return message


@pytest.mark.parametrize(
    ("result", "answer"),
    [("51", "It is 76."), ("-3", "It is 3."), ("1911.65", "It is 1911."), ("5 miles", "Six, or 51 miles.")],
)
def test_another_number_is_replaced_and_kept_beside(counted: Any, result: str, answer: str) -> None:
    message = last(counted, result, answer)
    assert message.text == f"The answer is {result}."
    assert message.response_metadata[SAID] == answer


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        ("51", "76 less 25 is 51 dollars."),
        ("-3", "It is -3."),
        ("1200", "It is 1,200."),
        ("5 miles", "5 miles."),
        ("51", "It is 51, since 76 - 25 is that."),
        ("51", "51.0"),
        ("1", "Yes, it is."),
    ],
)
def test_an_answer_that_gives_the_result_stays_as_it_is(counted: Any, result: str, answer: str) -> None:
    message = last(counted, result, answer)
    assert message.text == answer
    assert SAID not in message.response_metadata


@pytest.mark.parametrize("result", ["a page about 51 cats", "", ToolError("51 is no number.")])
def test_only_a_result_that_is_a_number_is_bound(counted: Any, result: Any) -> None:
    assert last(counted, result, "It is 7.").text == "It is 7."


def test_what_strangers_wrote_never_becomes_the_answer(counted: Any) -> None:
    assert last(counted, "51", "It is 7.", untrusted=True).text == "It is 7."


def test_a_result_that_came_a_second_time_is_bound_too(counted: Any) -> None:
    model = acts(call("work", text="391"), call("work", text="391"), AIMessage("It is 7."))
    agent = build_agent(model, [counted.tool("work")], middleware=[BoundAnswer()])
    assert agent.invoke({"messages": [("user", "Go")]})["messages"][-1].text == "The answer is 391."


def test_of_several_results_at_once_none_is_bound(counted: Any) -> None:
    model = acts(calls(("work", {"text": "51"}), ("work", {"text": "9"})), AIMessage("Together 60."))
    agent = build_agent(model, [counted.tool("work")], middleware=[BoundAnswer()])
    assert agent.invoke({"messages": [("user", "Go")]})["messages"][-1].text == "Together 60."


def test_nothing_of_an_earlier_turn_is_bound(counted: Any) -> None:
    agent = build_agent(acts(AIMessage("It is 7.")), [counted.tool("work")], middleware=[BoundAnswer()])
    worked = call("work", text="51")
    before = [HumanMessage("Go"), worked, ToolMessage("51", tool_call_id=worked.tool_calls[0]["id"]), AIMessage("51")]
    messages = agent.invoke({"messages": [*before, HumanMessage("And now?")]})["messages"]
    assert messages[-1].text == "It is 7."


def test_a_forced_answer_is_bound_as_well(counted: Any) -> None:
    model = acts(call("work", text="51"), AIMessage("It is 7."))
    agent = build_agent(model, [counted.tool("work")], middleware=[BoundAnswer()], limits=Limits(steps=2))
    answer = agent.invoke({"messages": [("user", "Go")]})["messages"][-1]
    assert answer.text == "The answer is 51."
    assert answer.response_metadata["ended_by"] == "steps"


async def test_and_when_it_is_awaited(counted: Any) -> None:
    model = acts(call("work", text="51"), AIMessage("It is 7."))
    agent = build_agent(model, [counted.tool("work")], middleware=[BoundAnswer()])
    assert (await agent.ainvoke({"messages": [("user", "Go")]}))["messages"][-1].text == "The answer is 51."
