"""One object for chains and agents: a step before a prompt or behind it, and middleware of `create_agent`."""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatResult
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from rehearsed import CALL, Rehearsed, dialogue, rehearsed

from phireside.errors import ContextOverflowError, RequestError
from phireside.memory import BufferMemory, Memory, MemoryState, SummaryBufferMemory, SummaryMemory, WindowMemory

PROMPT = ChatPromptTemplate.from_messages([("system", "Be {how}."), MessagesPlaceholder("messages")])


# ---- chains ----


def test_a_memory_is_a_step_before_the_prompt() -> None:
    model = rehearsed()
    chain = WindowMemory(1) | PROMPT | model
    history = [*dialogue(4), HumanMessage("What is 3 + 3?")]
    assert chain.invoke({"messages": history, "how": "kind"}).text == "It is 6."
    assert model.asked == [
        [("system", "Be kind."), ("human", "ask 003"), ("ai", "ans 003"), ("human", "What is 3 + 3?")]
    ]


async def test_and_behind_the_prompt_where_it_counts_all_of_it() -> None:
    model = rehearsed()
    chain = PROMPT | BufferMemory(budget=40, model=model) | model
    history = [*dialogue(40), HumanMessage("What is 3 + 3?")]
    assert (await chain.ainvoke({"messages": history, "how": "kind"})).text == "It is 6."
    (asked,) = model.asked
    assert asked[0] == ("system", "Be kind.")
    assert 3 < len(asked) < 12


def test_a_list_gives_a_list_and_a_dict_gives_a_dict_that_tells_what_is_missing() -> None:
    history = dialogue(4)
    assert WindowMemory(0).invoke(history) == history[-2:]
    given = {"messages": history, "more": 1}
    assert WindowMemory(0).invoke(given) == {"messages": history[-2:], "more": 1, "left_out": 6, "summarized": 0}
    assert given == {"messages": history, "more": 1}
    assert WindowMemory(0).batch([history, history[:2]]) == [history[-2:], history[:2]]
    assert WindowMemory(0).invoke([("human", "a"), {"role": "user", "content": "b"}]) == [HumanMessage("b")]
    assert WindowMemory(0).invoke("Hello") == [HumanMessage("Hello")]


def test_a_state_in_the_input_is_used_and_handed_on() -> None:
    state = MemoryState("They met.", (), 6)
    sent = SummaryMemory().invoke({"messages": dialogue(4), "memory_state": state})
    assert [message.type for message in sent["messages"]] == ["system", "human", "ai"]
    assert (sent["summarized"], sent["memory_state"]) == (6, state)
    for wrong in ({"summary": "They met."}, "They met.", 0):
        with pytest.raises(RequestError, match=r"memory_state is .*Pass the MemoryState"):
            SummaryMemory().invoke({"messages": dialogue(4), "memory_state": wrong})


@pytest.mark.parametrize("wrong", [None, 3, {}, {"messages": None}, {"messages": 3}, [3]])
def test_an_input_without_messages_is_refused_with_a_hint(wrong: Any) -> None:
    with pytest.raises(RequestError) as caught:
        BufferMemory().invoke(wrong)
    assert caught.value.hint


def test_a_budget_of_ones_own_is_kept_and_a_model_that_says_its_size_is_believed() -> None:
    with pytest.raises(ContextOverflowError, match="room for 3"):
        BufferMemory(budget=3).invoke([HumanMessage("A question of some length")])
    small = rehearsed(profile={"max_input_tokens": 50})
    assert len(BufferMemory(model=small).invoke(dialogue(30))) < 20
    assert len(BufferMemory(model=rehearsed()).invoke(dialogue(30))) == 60


# ---- agents ----


@tool
def clock() -> str:
    """What time it is."""
    return "12:00"


class Agent(Rehearsed):
    """Calls the clock once for a question with "time"."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        result = super()._generate(messages, *args, **kwargs)
        if "time" in str(messages[-1].text) and isinstance(messages[-1], HumanMessage) and not self.is_asked(messages):
            result.generations[0].message = AIMessage("", tool_calls=[CALL | {"id": f"call_{len(messages)}"}])
        return result

    @staticmethod
    def is_asked(messages: list[BaseMessage]) -> bool:
        return str(messages[0].text).startswith("Summarize")


def agent(memory: Memory, model: Agent) -> Any:
    return create_agent(
        model, tools=[clock], system_prompt="Be kind.", middleware=[memory], checkpointer=InMemorySaver()
    )


CONFIG: Any = {"configurable": {"thread_id": "1"}}


def ask(running: Any, text: str) -> Any:
    return running.invoke({"messages": [HumanMessage(text)]}, CONFIG)


async def aask(running: Any, text: str) -> Any:
    return await running.ainvoke({"messages": [HumanMessage(text)]}, CONFIG)


def test_an_agents_model_gets_the_selection_and_its_state_keeps_everything() -> None:
    model = Agent(asked=[])
    running = agent(WindowMemory(1), model)
    for number in range(4):
        result = ask(running, f"What time is it, {number}?")
    assert [message.type for message in result["messages"]] == ["human", "ai", "tool", "ai"] * 4
    assert [kind for kind, _ in model.asked[-2]] == ["system", "human", "ai", "tool", "ai", "human"]
    assert [kind for kind, _ in model.asked[-1]] == ["system", "human", "ai", "tool", "ai", "human", "ai", "tool"]
    assert model.asked[-1][0] == ("system", "Be kind.")
    assert result["messages"][-1].response_metadata["left_out"] == 8


async def test_it_works_in_an_agent_that_is_awaited() -> None:
    model = Agent(asked=[])
    running = agent(BufferMemory(), model)
    await aask(running, "What time is it?")
    result = await aask(running, "What is 1 + 1?")
    assert result["messages"][-1].text == "It is 2."
    assert len(model.asked[-1]) == 6
    assert "left_out" not in result["messages"][-1].response_metadata


@pytest.mark.parametrize("awaited", [False, True])
async def test_an_agent_summarises_after_its_answer_and_its_checkpointer_keeps_the_state(awaited: bool) -> None:
    model = Agent(asked=[])
    running = agent(SummaryMemory(model=model), model)
    texts = ["My name is Maarten. What is 1 + 1?", "What time is it?", "What is my name?"]
    for text in texts:
        result = await aask(running, text) if awaited else ask(running, text)
    assert result["messages"][-1].text == "Your name is Maarten."
    assert [kind for kind, _ in model.chats[-1]] == ["system", "system", "human"]
    assert len(model.summaries) == 3
    assert running.get_state(CONFIG).values["memory_state"]["covered"] == 8
    assert "memory_state" not in result  # it is the memory's own
    assert result["messages"][-1].response_metadata["summarized"] == 6


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_stream_of_an_agents_messages_does_not_show_the_summary(awaited: bool) -> None:
    model = Agent(asked=[])
    running = agent(SummaryMemory(model=model), model)
    given = {"messages": [HumanMessage("What is 1 + 1?")]}
    if awaited:
        shown = [part async for part in running.astream(given, CONFIG, stream_mode="messages")]
    else:
        shown = list(running.stream(given, CONFIG, stream_mode="messages"))
    assert "".join(message.text for message, _ in shown) == "It is 2."
    assert len(model.summaries) == 1


def test_an_agent_whose_summary_fails_has_answered_and_tries_again(caplog: pytest.LogCaptureFixture) -> None:
    model, writer = Agent(asked=[]), rehearsed(failing=ValueError("no such key"))
    running = agent(SummaryBufferMemory(model=writer, recent_tokens=0), model)
    ask(running, "My name is Maarten. What is 1 + 1?")
    assert ask(running, "What is my name?")["messages"][-1].text == "Your name is Maarten."
    assert "no such key" in caplog.text
    writer.failing = None
    assert ask(running, "What is 2 + 2?")["messages"][-1].text == "It is 4."
    assert running.get_state(CONFIG).values["memory_state"]["covered"] == 4


@tool
def library(query: str) -> str:
    """Books by title, author or year."""
    return query


library.description = "What the library has. " * 100  # 550 tokens by LangChain's estimate


@pytest.mark.parametrize("awaited", [False, True])
async def test_what_an_agents_tools_and_system_prompt_take_is_summarised_in_time(awaited: bool) -> None:
    """The room for turns is what they leave: turns go into the summary before they no longer fit, not after."""
    model = Agent(asked=[], profile={"max_input_tokens": 1000})
    memory, left_out = SummaryBufferMemory(model=model, max_tokens=30, max_facts=0), []
    running = create_agent(
        model, [library], system_prompt="Be kind. " * 20, middleware=[memory], checkpointer=InMemorySaver()
    )
    for number in range(25):
        text = f"This is question {number}, of some length. What is 1 + 1?"
        result = await aask(running, text) if awaited else ask(running, text)
        left_out.append(result["messages"][-1].response_metadata.get("left_out", 0))
    assert left_out == [0] * 25
    assert "memory_room" not in result
    room = running.get_state(CONFIG).values["memory_room"]
    assert 300 < room < 1000 - 550 - 45
    assert model.summaries


def test_a_summary_memory_without_a_model_is_refused_in_an_agent() -> None:
    with pytest.raises(RequestError, match="needs a model"):
        ask(agent(SummaryMemory(), Agent(asked=[])), "Hi")


def test_a_tool_loop_never_loses_its_question() -> None:
    model = Agent(asked=[])
    messages: list[BaseMessage] = [*dialogue(30), HumanMessage("time?"), AIMessage("", tool_calls=[CALL])]
    messages.append(ToolMessage("12:00", tool_call_id="call_0"))
    sent = BufferMemory(budget=60).invoke([SystemMessage("Be kind."), *messages])
    assert sent[0] == SystemMessage("Be kind.")
    assert sent[-3:] == messages[-3:]
    assert model.asked == []
