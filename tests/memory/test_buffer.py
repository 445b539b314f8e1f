"""`BufferMemory`: everything while it fits; then whole turns, in blocks, at least half of the budget kept."""

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from rehearsed import CALL, Counter, count, dialogue

from phireside.errors import ContextOverflowError
from phireside.memory import BufferMemory


def test_everything_is_kept_while_it_fits_and_counted_once() -> None:
    counter, history = Counter(), dialogue(5)
    selection = BufferMemory().select(history, 102, counter)
    assert (selection.messages, selection.left_out, selection.tokens) == (history, 0, 102)
    assert counter.calls == 1


def test_one_token_too_many_leaves_out_a_block_of_turns_and_keeps_half_of_the_budget() -> None:
    history = dialogue(5)
    selection = BufferMemory().select(history, 101, count)
    assert (selection.messages, selection.left_out, selection.tokens) == (history[4:], 4, 62)


def test_the_system_prompt_and_the_new_question_survive() -> None:
    history = [*dialogue(50, system="Be kind."), HumanMessage("now")]
    selection = BufferMemory().select(history, 2 + 11 + 6, count)
    assert selection.messages == [history[0], history[-1]]
    assert selection.left_out == 100


@pytest.mark.parametrize("budget", [-5, 0, 1])
def test_no_budget_at_all_is_refused(budget: int) -> None:
    with pytest.raises(ContextOverflowError):
        BufferMemory().select([HumanMessage("hi")], budget, count)


def test_a_tool_result_after_the_next_question_ties_the_two_turns() -> None:
    late = ToolMessage("12", tool_call_id="call_0")
    tied: list[BaseMessage] = [HumanMessage("time?"), AIMessage("", tool_calls=[CALL]), HumanMessage("hurry"), late]
    history = [*dialogue(3), *tied]
    assert BufferMemory().select(history, count(tied), count).messages == tied
    with pytest.raises(ContextOverflowError):
        BufferMemory().select(history, count(tied) - 1, count)


def test_equal_call_ids_in_every_turn_do_not_tie_them() -> None:
    result = ToolMessage("12", tool_call_id="call_0")
    turn: list[BaseMessage] = [HumanMessage("time?"), AIMessage("", tool_calls=[CALL]), result, AIMessage("12")]
    assert BufferMemory().select(turn * 4, count(turn * 2), count).messages == turn * 2


def test_what_is_left_out_is_left_out_in_blocks_and_at_least_half_of_the_budget_is_used() -> None:
    history, moves, before = dialogue(400), 0, 0
    for turns in range(1, 401):
        selection = BufferMemory().select(history[: 2 * turns], 802, count)  # 40 turns
        assert selection.tokens >= min(802 // 2, 2 + 20 * turns)
        moves, before = moves + (selection.left_out != before), selection.left_out
    assert before > 700
    assert moves <= 400 / 10  # one after another: 360


def test_a_turn_that_takes_nearly_all_leaves_out_what_it_must() -> None:
    history = [*dialogue(6), HumanMessage("x" * 80)]
    selection = BufferMemory().select(history, 2 + 83 + 20, count)
    assert selection.messages == history[10:]
