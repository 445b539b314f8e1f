"""`SummaryBufferMemory`: turns gather, the older ones go into the summary, and in between prompts only grow."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from rehearsed import count, dialogue, rehearsed

from phireside.memory import MemoryState, SummaryBufferMemory
from phireside.memory.budget import UNLIMITED
from phireside.memory.summary_buffer import RECENT_TOKENS

ROOM = 2000


def test_nothing_is_due_before_85_percent_of_the_room_are_used() -> None:
    memory, turns = SummaryBufferMemory(), (ROOM * 85 // 100 - 2) // 20
    assert memory.due(dialogue(turns), ROOM, count) is None
    assert memory.due(dialogue(turns + 1), ROOM, count) is not None


def test_the_system_prompt_and_the_summary_take_from_the_room() -> None:
    memory, turns = SummaryBufferMemory(), (ROOM * 85 // 100 - 2) // 20
    assert memory.due(dialogue(turns, system="x" * 100), ROOM, count) is not None
    covered = MemoryState("s" * 300, (), 2)
    assert memory.due(dialogue(turns + 1), ROOM, count, covered) is not None


async def test_the_older_turns_go_into_the_summary_until_less_than_a_third_is_left() -> None:
    memory, history, model = SummaryBufferMemory(recent_tokens=402, max_tokens=30), dialogue(21), rehearsed()
    assert memory.due(history[:40], ROOM, count) is None
    (state,) = [new async for new in memory.updates(history, ROOM, count, MemoryState(), model)]
    assert state.covered == 32  # 5 turns of 20 are left: 102 of 120 tokens
    sent = memory.select([*history, HumanMessage("now")], ROOM, count, state)
    assert sent.messages[1:] == [*history[32:], HumanMessage("now")]
    assert (sent.summarized, sent.left_out) == (32, 0)


async def test_a_long_chat_is_summarised_now_and_then_and_never_overflows() -> None:
    memory, model = SummaryBufferMemory(max_tokens=30, max_facts=0), rehearsed()
    state, history, compactions = MemoryState(), [SystemMessage("Be kind.")], 0
    for number in range(300):
        history.append(HumanMessage(f"ask {number:03}"))
        sent = memory.select(history, 1000, count, state)
        assert sent.left_out == 0
        assert sent.tokens <= 1000
        history.append(AIMessage(f"ans {number:03}"))
        async for new in memory.updates(history, 1000, count, state, model):
            state, compactions = new, compactions + 1
    assert state.covered > 540
    assert compactions <= 300 / 20  # 70 % of 85 % of what the summary leaves are 25 turns


def test_a_model_that_does_not_say_how_much_it_reads_gets_a_summary_too() -> None:
    memory, model = SummaryBufferMemory(), rehearsed()
    assert memory.budget_for(model) == UNLIMITED
    assert memory.due(dialogue(RECENT_TOKENS // 20 - 1), UNLIMITED, count) is None
    due = memory.due(dialogue(RECENT_TOKENS // 20 + 1), UNLIMITED, count)
    assert due is not None
    left = count(dialogue(RECENT_TOKENS // 20 + 1)[due.covered :])
    assert RECENT_TOKENS * 3 // 10 - 20 <= left <= RECENT_TOKENS * 3 // 10
    more = SummaryBufferMemory(recent_tokens=2 * RECENT_TOKENS)
    assert more.due(dialogue(RECENT_TOKENS // 20 + 1), UNLIMITED, count) is None


def test_the_last_turn_always_stays() -> None:
    memory = SummaryBufferMemory(recent_tokens=0)
    due = memory.due(dialogue(3), ROOM, count)
    assert due is not None
    assert due.covered == 4
    assert memory.due(dialogue(1), ROOM, count) is None
    assert memory.due(dialogue(3), ROOM, count, MemoryState("s", (), 4)) is None


@pytest.mark.parametrize("late", [0, 5, 60])
async def test_turns_wait_as_they_are_while_no_summary_comes(late: int) -> None:
    """Compaction was cancelled or failed each time: what does not fit is left out and told, and comes back later."""
    memory, history = SummaryBufferMemory(max_tokens=30), dialogue(30 + late)
    sent = memory.select([*history, HumanMessage("now")], 700, count, MemoryState("s", (), 2))
    assert sent.summarized == 2
    assert sent.summarized + sent.left_out + len(sent.messages) - 2 == len(history)
    assert (sent.left_out > 0) == (late > 0)
    states = [new async for new in memory.updates(history, 700, count, MemoryState("s", (), 2), rehearsed())]
    sent = memory.select([*history, HumanMessage("now")], 700, count, states[-1])
    assert sent.left_out == 0
