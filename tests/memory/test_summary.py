"""`SummaryMemory`: the book's prompt, one step after another, bounded; facts beside it; nothing lost on the way."""

import re

import pytest
from answers import Plain
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from rehearsed import CALL, Rehearsed, count, dialogue, rehearsed

from phireside.errors import EngineError
from phireside.memory import MemoryState, SummaryBufferMemory, SummaryMemory
from phireside.memory.facts import merged
from phireside.memory.summary import _question

ROOM = 5000
MET = [HumanMessage("My name is Maarten. What is 1 + 1?"), AIMessage("It is 2.")]


async def updated(
    memory: SummaryMemory,
    history: list[BaseMessage],
    model: Rehearsed,
    state: MemoryState | None = None,
    room: int = ROOM,
) -> list[MemoryState]:
    return [new async for new in memory.updates(history, room, count, state or MemoryState(), model)]


async def test_the_prompt_is_the_books_and_each_summary_goes_on_from_the_last() -> None:
    model, memory = rehearsed(), SummaryMemory(max_facts=0)
    (first,) = await updated(memory, MET, model)
    history = [*MET, HumanMessage("And 3 + 3?"), AIMessage("It is 6.")]
    (second,) = await updated(memory, history, model, first)
    assert model.summaries == [
        "Summarize the conversations and update with the new lines.\n\nCurrent summary:\n\n\n"
        "new lines of conversation:\nHuman: My name is Maarten. What is 1 + 1?\nAI: It is 2.\n\nNew summary:",
        "Summarize the conversations and update with the new lines.\n\nCurrent summary:\n"
        "My name is Maarten. What is 1 + 1?\n\n"
        "new lines of conversation:\nHuman: And 3 + 3?\nAI: It is 6.\n\nNew summary:",
    ]
    assert first == MemoryState("My name is Maarten. What is 1 + 1?", (), 2)
    assert second == MemoryState("My name is Maarten. What is 1 + 1? And 3 + 3?", (), 4)


async def test_only_the_summary_and_the_question_are_sent_behind_the_system_prompt() -> None:
    memory = SummaryMemory()
    history = [SystemMessage("Be kind."), *MET]
    (state,) = await updated(memory, history, rehearsed())
    sent = memory.select([*history, HumanMessage("Hello?")], ROOM, count, state)
    assert [(message.type, message.text) for message in sent.messages] == [
        ("system", "Be kind."),
        (
            "system",
            "Summary of the conversation so far:\nMy name is Maarten. What is 1 + 1?\n\n"
            "What the human said about themselves:\n- My name is Maarten.",
        ),
        ("human", "Hello?"),
    ]
    assert (sent.summarized, sent.left_out, sent.note) == (2, 0, sent.messages[1])


def test_what_is_not_summarised_yet_is_sent_as_it_is() -> None:
    history = [*dialogue(4), HumanMessage("now")]
    sent = SummaryMemory().select(history, ROOM, count, MemoryState("Two turns.", (), 4))
    assert sent.messages[1:] == history[4:]
    assert (sent.summarized, sent.left_out) == (4, 0)


@pytest.mark.parametrize("covered", [0, 10, 99])
def test_a_state_of_another_conversation_is_ignored(covered: int) -> None:
    history = [*dialogue(4), HumanMessage("now")]
    sent = SummaryMemory().select(history, ROOM, count, MemoryState("Other things.", (), covered))
    assert sent.messages == history


def test_a_summary_that_leaves_no_room_for_the_question_is_left_out_and_told() -> None:
    history = [*dialogue(4), HumanMessage("n" * 50)]
    sent = SummaryMemory().select(history, 60, count, MemoryState("s" * 40, (), 8))
    assert sent.messages == history[-1:]
    assert (sent.summarized, sent.left_out) == (0, 8)


async def test_a_turn_that_is_not_finished_waits() -> None:
    calling = [HumanMessage("Time?"), AIMessage("", tool_calls=[CALL])]
    memory, model = SummaryMemory(), rehearsed()
    for open_turn in ([HumanMessage("Hello?")], calling, [*calling, ToolMessage("12", tool_call_id="call_0")]):
        assert await updated(memory, open_turn, model) == []
        (state,) = await updated(memory, [*MET, *open_turn], model)
        assert state.covered == 2


async def test_tools_and_their_results_are_told_and_system_messages_are_not() -> None:
    model = rehearsed()
    result = ToolMessage("12:00", tool_call_id="call_0", name="clock")
    images = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    history = [
        SystemMessage("Be kind."), HumanMessage(images), AIMessage("", tool_calls=[CALL]), result, AIMessage("Noon."),
    ]  # fmt: skip
    (state,) = await updated(SummaryMemory(max_facts=0), history, model)
    assert "Human: look\nAI: (calls clock with {})\nResult of clock: 12:00\nAI: Noon.\n" in model.summaries[0]
    assert "kind" not in model.summaries[0]
    assert state.covered == 4


async def test_what_the_model_cannot_read_at_once_goes_in_by_steps() -> None:
    model = rehearsed()
    states = await updated(SummaryMemory(max_tokens=20), dialogue(60), model, room=700)
    assert len(states) > 2
    assert states[-1].covered == 120
    assert all(count([HumanMessage(prompt)]) + 20 <= 700 for prompt in model.summaries)


@pytest.mark.parametrize("called", [False, True])
async def test_a_turn_that_is_too_long_by_itself_is_shortened_and_the_prompt_says_so(called: bool) -> None:
    model = rehearsed()
    call = AIMessage("", tool_calls=[CALL | {"args": {"text": "x" * 9000}}])
    long = [HumanMessage("Write."), call] if called else [HumanMessage("Read this: " + "x" * 9000)]
    history = [*long, AIMessage("Done."), *dialogue(2)]
    states = await updated(SummaryMemory(max_tokens=20), history, model, room=700)
    assert states[-1].covered == len(history)
    assert re.search(r"xxx \[\d+ characters left out\] xx", model.summaries[0])
    assert count([HumanMessage(model.summaries[0])]) + 20 <= 700


@pytest.mark.parametrize("words", ["", "a few words", "many words " * 50])
async def test_a_turn_of_hundreds_of_messages_holds_nothing_up(words: str) -> None:
    """Its first and last messages are shown, and the prompt says that there were more."""
    model, memory = rehearsed(), SummaryMemory(max_tokens=20, max_facts=0)
    step = [AIMessage(words, tool_calls=[CALL]), ToolMessage(words, tool_call_id="call_0")]
    history = [HumanMessage("Look."), *step * 300, AIMessage("Found."), *dialogue(2)]
    states = await updated(memory, history, model, room=700)
    assert states[-1].covered == len(history)
    assert all(count([HumanMessage(prompt)]) + 20 <= 700 for prompt in model.summaries)
    shown, left_out = model.summaries[0].split("new lines of conversation:\n")[1].split("\n[")
    assert shown.startswith("Human: Look.\nAI: ")
    assert re.match(r"\d+ messages left out\]\n", left_out)
    assert "\nAI: Found." in left_out
    told = len(shown.splitlines()) + len(left_out.partition("\n\n")[0].splitlines()) - 1
    assert told + int(left_out.split()[0]) == 602


def test_a_message_is_not_shortened_into_a_longer_one() -> None:
    history = [HumanMessage("Look."), *[AIMessage("a few words of it")] * 40, AIMessage("Found.")]
    due = SummaryMemory(max_tokens=20).due(history, 900, count)
    assert due is not None
    assert "characters left out" not in _question(due)[0].text


async def test_each_line_says_who_wrote_it() -> None:
    model = rehearsed()
    history = [
        ChatMessage("One.", role="user"), FunctionMessage("Two.", name="f"), ChatMessage("Three.", role="critic"),
        ChatMessage("Not told.", role="system"), AIMessage("Four."),
    ]  # fmt: skip
    (state,) = await updated(SummaryMemory(max_facts=0), history, model)
    assert "\nHuman: One.\nResult of f: Two.\ncritic: Three.\nAI: Four.\n\n" in model.summaries[0]
    assert state.covered == 4


async def test_the_summary_is_bounded_even_where_a_model_takes_no_limit() -> None:
    model = Plain(says="I talk. " * 500)
    (state,) = await updated(SummaryMemory(max_tokens=20, max_facts=0), MET, model)
    assert len(state.summary) <= 160
    assert state.summary.endswith("talk.")


@pytest.mark.parametrize("budget", [0, 1, 40, 150])
async def test_a_budget_that_is_too_small_for_the_prompt_summarises_nothing(budget: int) -> None:
    assert await updated(SummaryMemory(), MET, rehearsed(), room=budget) == []


async def test_a_model_that_writes_nothing_is_an_error_and_makes_no_state() -> None:
    class Mute(Rehearsed):
        def _generate(self, messages: list[BaseMessage], *args: object, **kwargs: object):  # type: ignore[no-untyped-def]
            result = super()._generate(messages, max_tokens=9)
            result.generations[0].message.content = "  \n"
            return result

    with pytest.raises(EngineError, match="no summary"):
        await updated(SummaryMemory(), MET, Mute(asked=[]))


# ---- facts ----


async def test_facts_are_carried_beside_the_prose_which_may_lose_them() -> None:
    model, memory = rehearsed(), SummaryMemory(max_tokens=6)
    history = [HumanMessage("I talk a lot at first. My name is Maarten. I am 33 years old."), AIMessage("I see.")]
    (state,) = await updated(memory, history, model)
    assert "Maarten" not in state.summary
    assert state.facts == ("My name is Maarten.", "I am 33 years old.")
    history += [HumanMessage("I have 2 cats. My name is Maarten."), AIMessage("I see.")]
    (state,) = await updated(memory, history, model, state)
    assert state.facts == ("My name is Maarten.", "I am 33 years old.", "I have 2 cats.")
    assert "- I am 33 years old." in memory.select([*history, HumanMessage("Hi")], ROOM, count, state).messages[0].text


def test_the_newest_facts_that_fit_into_a_quarter_of_the_budget_are_sent_and_the_summary_with_them() -> None:
    known = tuple(f"I have thing {number} {'and so on ' * 27}." for number in range(24))
    history, state = [*dialogue(4), HumanMessage("n" * 1000)], MemoryState("They met.", known, 8)
    sent = SummaryBufferMemory().select(history, 3000, count, state)
    assert (sent.summarized, sent.left_out) == (8, 0)
    assert sent.note
    assert sent.note.text.startswith("Summary of the conversation so far:\nThey met.\n\n")
    assert [fact for fact in known if fact in sent.note.text] == list(known[-2:])  # 2 * 300 of 750
    more = SummaryBufferMemory().select([*history, AIMessage("ok"), HumanMessage("now")], 3000, count, state)
    assert more.note == sent.note


async def test_a_model_that_cannot_answer_in_a_form_lists_no_facts() -> None:
    (state,) = await updated(SummaryMemory(), MET, rehearsed(structured=False), MemoryState())
    assert state.facts == ()


def test_facts_are_merged_once_each_and_bounded() -> None:
    old = tuple(f"Fact {n}." for n in range(5))
    assert merged(old, ["fact 3", "Fact 9."], 10) == (*old, "Fact 9.")
    assert merged(old, ["Fact 9."], 3) == ("Fact 3.", "Fact 4.", "Fact 9.")
    assert merged(old, ["Fact 9."], 0) == ()


@pytest.mark.parametrize("budget", [162, 400, 5000])
def test_what_would_add_nothing_is_not_due_for_ever(budget: int) -> None:
    messages = [HumanMessage(""), SystemMessage(""), HumanMessage("")]
    due = SummaryMemory(max_facts=0).due(messages, budget, count, MemoryState("", (), 1))
    assert due is None or due.covered > 1
