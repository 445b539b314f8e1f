"""An agent of any tool-calling model: LangChain's agent, with policies that can be seen only when they are needed."""

from typing import Any

import pytest
from acting import acting, acts, call, observations
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from phireside.agents import Limits, build_agent
from phireside.errors import ContextOverflowError, RequestError
from phireside.memory import WindowMemory
from phireside.tools import calculator

CONFIG: Any = {"configurable": {"thread_id": "1"}}


def ask(agent: Any, text: str = "Go", config: Any = None) -> list[BaseMessage]:
    messages: list[BaseMessage] = agent.invoke({"messages": [("user", text)]}, config)["messages"]
    return messages


def test_a_turn_without_trouble_is_langchains_own(counted: Any) -> None:
    shout = counted.tool("shout")
    script = [call("shout", text="hi"), AIMessage("HI")]
    ours = ask(build_agent(acts(*script), [shout], system_prompt="Be loud."))
    theirs = ask(create_agent(acts(*script), [shout], system_prompt="Be loud."))
    assert [(m.type, m.content) for m in ours] == [(m.type, m.content) for m in theirs]
    assert ours[-1].text == "HI"


async def test_and_so_it_is_when_awaited(counted: Any) -> None:
    agent = build_agent(acts(call("shout", text="hi"), AIMessage("HI")), [counted.tool("shout")])
    messages = (await agent.ainvoke({"messages": [("user", "Go")]}))["messages"]
    assert [message.text for message in messages] == ["Go", "", "HI", "HI"]
    assert counted.runs == [("shout", "hi")]


def test_the_model_gets_the_prompt_the_tools_and_the_scratchpad_as_they_are(counted: Any) -> None:
    model = acts(call("shout", text="hi"), AIMessage("HI"))
    ask(build_agent(model, [counted.tool("shout")], system_prompt="Be loud."))
    assert [m.type for m in model.asked[1]] == ["system", "human", "ai", "tool"]
    assert model.asked[1][0].text == "Be loud."
    assert [options["tools"] for options in model.options] == [["shout"], ["shout"]]


def test_a_plain_function_is_a_tool() -> None:
    def double(number: int) -> int:
        """Twice a number."""
        return 2 * number

    messages = ask(build_agent(acts(call("double", number=4), AIMessage("8")), [double]))
    assert observations(messages) == ["8"]


def test_an_agent_without_tools_answers() -> None:
    assert ask(build_agent(acts(AIMessage("Hello")), []))[-1].text == "Hello"


def test_a_conversation_goes_on_and_each_turn_has_its_own_limits(counted: Any) -> None:
    model = acts(then=call("shout", text="hi"))
    agent = build_agent(model, [counted.tool("shout")], limits=Limits(steps=2), checkpointer=InMemorySaver())
    for turn in (1, 2, 3):
        messages = ask(agent, "Go", CONFIG)
        assert messages[-1].response_metadata["ended_by"] == "steps"
        assert len(model.asked) == 2 * turn
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"] * 3


def test_a_memory_chooses_what_is_sent_and_the_state_keeps_all(counted: Any) -> None:
    model = acting(lambda messages: AIMessage(str(len(messages))))
    agent = build_agent(model, [], memory=WindowMemory(1), checkpointer=InMemorySaver())
    for _ in range(4):
        messages = ask(agent, "Go", CONFIG)
    assert messages[-1].text == "3"
    assert len(messages) == 8


def test_middleware_of_ones_own_stands_inside_the_policies(counted: Any) -> None:
    def failing(text: str) -> str:
        if len(counted.runs) < 3:
            raise OSError("no line")
        return "at last"

    retry = ToolRetryMiddleware(max_retries=2, initial_delay=0, on_failure="error")
    agent = build_agent(
        acts(call("dial", text="1"), AIMessage("ok")), [counted.tool("dial", failing)], middleware=[retry]
    )
    assert observations(ask(agent)) == ["at last"]
    assert len(counted.runs) == 3


@pytest.mark.parametrize(
    "limits",
    [
        {"steps": 0}, {"seconds": 0}, {"seconds": -1.0}, {"tokens": 0}, {"tool_seconds": 0}, {"seconds": float("nan")},
        {"steps": None}, {"tool_seconds": None}, {"observation_tokens": None}, {"seconds": "3"}, {"steps": 2.5},
        {"steps": True}, {"seconds": float("inf")},
    ],
)  # fmt: skip
def test_a_limit_that_is_no_positive_number_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=next(iter(limits))):
        Limits(**limits)


def test_a_tool_with_an_unknown_effect_is_refused(counted: Any) -> None:
    with pytest.raises(RequestError, match=r"'write'.*outward"):
        build_agent(acts(), [counted.tool("save", effects="write")])


def test_the_function_that_makes_a_tool_is_no_tool() -> None:
    with pytest.raises(RequestError, match=r"calculator makes a tool, and is none. Write calculator\(\)"):
        build_agent(acts(), [calculator])


def test_the_name_of_a_model_is_no_model() -> None:
    with pytest.raises(RequestError, match=r"'starter' is no chat model.*ChatGGUF\(model=\"starter\"\)"):
        build_agent("starter", [])  # type: ignore[arg-type]


class Narrow:
    """A model's answer where no more than so many messages fit."""

    def __init__(self, most: int, error: type[Exception]) -> None:
        self.most, self.error, self.number = most, error, 0

    def __call__(self, messages: list[BaseMessage]) -> AIMessage:
        if len(messages) > self.most:
            raise self.error("too long")
        self.number += 1
        return call("shout", text=f"hi {self.number}")


def test_a_context_that_fills_up_ends_with_an_answer(counted: Any) -> None:
    model = acting(Narrow(5, ContextOverflowError))
    messages = ask(build_agent(model, [counted.tool("shout")]))
    assert len(counted.runs) == 3  # the last one's prompt would have had 7
    assert messages[-1].response_metadata["ended_by"] == "context"
    assert messages[-1].text == "I could not finish: the context is full. The last result was: HI 3"
    last = model.asked[-1]
    assert [type(message) for message in last] == [HumanMessage, AIMessage, ToolMessage]
    assert observations(last) == ["HI 3"]


def test_a_question_that_does_not_fit_is_an_error(counted: Any) -> None:
    with pytest.raises(ContextOverflowError):
        ask(build_agent(acting(Narrow(0, ContextOverflowError)), [counted.tool("shout")]))
