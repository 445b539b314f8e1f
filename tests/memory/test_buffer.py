"""`BufferMemory`: exact in tokens, whole turns only, few counts."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from phireside.errors import ContextOverflowError
from phireside.memory import BufferMemory

CALL = {"name": "clock", "args": {}, "id": "call_0", "type": "tool_call"}


class Counter:
    """Tokens as a chat template has them: 2 for the prompt, 3 for the frame of a message, and its text's length."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, messages: Sequence[BaseMessage]) -> int:
        self.calls += 1
        return 2 + sum(3 + len(message.text) for message in messages)


def chat(turns: int, system: str = "") -> list[BaseMessage]:
    """Turns of 2 * (3 + 7) = 20 tokens."""
    pairs = [m for i in range(turns) for m in (HumanMessage(f"ask {i:03}"), AIMessage(f"ans {i:03}"))]
    return [SystemMessage(system), *pairs] if system else pairs


def test_everything_is_kept_while_it_fits_and_counted_once() -> None:
    count = Counter()
    history = chat(5)
    selection = BufferMemory().select(history, 102, count)
    assert (selection.messages, selection.left_out, selection.tokens) == (history, 0, 102)
    assert count.calls == 1


def test_one_token_too_many_drops_the_oldest_turn_and_no_more() -> None:
    history = chat(5)
    selection = BufferMemory().select(history, 101, Counter())
    assert (selection.messages, selection.left_out, selection.tokens) == (history[2:], 2, 82)


def test_the_system_prompt_and_the_new_question_survive() -> None:
    history = [*chat(50, system="Be kind."), HumanMessage("now")]
    selection = BufferMemory().select(history, 2 + 11 + 6, Counter())
    assert selection.messages == [history[0], history[-1]]
    assert selection.left_out == 100


def test_a_question_that_does_not_fit_is_refused_with_the_numbers() -> None:
    history = [*chat(2, system="Be kind."), HumanMessage("now")]
    with pytest.raises(ContextOverflowError, match="19 tokens; there is room for 18") as caught:
        BufferMemory().select(history, 18, Counter())
    assert "n_ctx" in caught.value.hint


@pytest.mark.parametrize("budget", [-5, 0, 1])
def test_no_budget_at_all_is_refused(budget: int) -> None:
    with pytest.raises(ContextOverflowError):
        BufferMemory().select([HumanMessage("hi")], budget, Counter())


def test_an_empty_conversation_is_not_counted() -> None:
    count = Counter()
    selection = BufferMemory().select([], 10, count)
    assert (selection.messages, selection.left_out, selection.tokens, count.calls) == ([], 0, 0, 0)


def test_a_tool_result_after_the_next_question_ties_the_two_turns() -> None:
    late = ToolMessage("12", tool_call_id="call_0")
    tied = [HumanMessage("time?"), AIMessage("", tool_calls=[CALL]), HumanMessage("hurry"), late]
    history = [*chat(3), *tied]
    assert BufferMemory().select(history, Counter()(tied), Counter()).messages == tied
    with pytest.raises(ContextOverflowError):
        BufferMemory().select(history, Counter()(tied) - 1, Counter())


def test_equal_call_ids_in_every_turn_do_not_tie_them() -> None:
    result = ToolMessage("12", tool_call_id="call_0")
    turn = [HumanMessage("time?"), AIMessage("", tool_calls=[CALL]), result, AIMessage("12")]
    assert BufferMemory().select(turn * 4, Counter()(turn * 2), Counter()).messages == turn * 2


def test_three_hundred_turns_need_few_counts() -> None:
    for budget in range(22, 6002, 37):
        count = Counter()
        selection = BufferMemory().select(chat(300), budget, count)
        assert selection.tokens == 2 + (budget - 2) // 20 * 20
        assert count.calls <= math.log2(300) + 3


text = st.text(max_size=12)
block = st.fixed_dictionaries({"type": st.just("text"), "text": text})
content = st.one_of(text, st.lists(st.one_of(text, block), max_size=3))
call_ids = st.sampled_from(["a", "b", "c"])
calls = st.lists(call_ids.map(lambda name: CALL | {"id": name}), max_size=2)
broken = CALL | {"type": "invalid_tool_call", "args": "{", "error": None}
broken_calls = st.lists(call_ids.map(lambda name: broken | {"id": name}), max_size=2)
message = st.one_of(
    content.map(HumanMessage),
    content.map(SystemMessage),
    st.builds(AIMessage, content, tool_calls=calls, invalid_tool_calls=broken_calls),
    st.builds(lambda content, name: ToolMessage(content, tool_call_id=name), content, call_ids),
)


@given(history=st.lists(message, max_size=14), budget=st.integers(0, 120))
def test_for_any_messages_the_selection_fits_is_whole_and_is_the_longest(
    history: list[BaseMessage], budget: int
) -> None:
    count = Counter()
    last_user = max((i for i, m in enumerate(history) if isinstance(m, HumanMessage)), default=0)
    try:
        selection = BufferMemory().select(history, budget, count)
    except ContextOverflowError:
        # Nothing that keeps the rules is shorter than what had to survive.
        assert all(tokens > budget for tokens in _allowed(history, last_user).values())
        return
    positions = [next(i for i, m in enumerate(history) if m is kept) for kept in selection.messages]
    assert positions == sorted(positions)
    assert selection.left_out == len(history) - len(selection.messages)
    assert selection.tokens <= budget or not history
    assert selection.tokens == (Counter()(selection.messages) if history else 0)
    allowed = _allowed(history, last_user)
    fitting = [start for start, tokens in allowed.items() if tokens <= budget]
    if history:
        assert positions == _tail(history, min(fitting))


def _tail(history: list[BaseMessage], start: int) -> list[int]:
    return [i for i, m in enumerate(history) if i >= start or isinstance(m, SystemMessage)]


def _allowed(history: list[BaseMessage], last_user: int) -> dict[int, int]:
    """By brute force: the starts that keep the last user turn, begin a turn, and separate no call from its result."""
    pairs = []
    for j, result in enumerate(history):
        if isinstance(result, ToolMessage):
            callers = [
                i for i, m in enumerate(history[:j])
                if isinstance(m, AIMessage)
                and result.tool_call_id in [call["id"] for call in [*m.tool_calls, *m.invalid_tool_calls]]
            ]  # fmt: skip
            pairs += [(callers[-1], j)] if callers else []
    starts = [0] + [i for i, m in enumerate(history) if isinstance(m, HumanMessage) and i <= last_user]
    whole = [start for start in starts if not any(call < start <= result for call, result in pairs)]
    return {start: Counter()([history[i] for i in _tail(history, start)]) for start in whole}
