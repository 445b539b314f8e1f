"""`WindowMemory`: never more than k turns before the question, at least half of that, and moved in blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from rehearsed import count, dialogue

from phireside.memory import WindowMemory


@given(k=st.integers(0, 12), turns=st.integers(0, 60))
def test_at_most_k_turns_and_once_there_were_more_at_least_half_of_k(k: int, turns: int) -> None:
    history = [*dialogue(turns), HumanMessage("now")]
    sent = WindowMemory(k).select(history, 10_000, count)
    kept = (len(sent.messages) - 1) / 2
    assert kept <= k
    assert kept == turns if turns <= k else kept >= k / 2
    assert sent.messages == history[sent.left_out :]


@pytest.mark.parametrize(
    ("k", "kept"),
    [
        (0, [0, 0, 0, 0]),
        (1, [0, 1, 1, 1]),
        (2, [0, 1, 2, 1, 2, 1]),
        (4, [0, 1, 2, 3, 4, 2, 3, 4, 2]),
        (5, [0, 1, 2, 3, 4, 5, 3, 4, 5, 3]),
    ],
)
def test_the_window_moves_in_blocks(k: int, kept: list[int]) -> None:
    sizes = []
    for turns in range(len(kept)):
        sent = WindowMemory(k).select([*dialogue(turns), HumanMessage("now")], 10_000, count)
        sizes.append(len(sent.messages) // 2)
    assert sizes == kept


def test_a_window_that_does_not_fit_is_made_smaller() -> None:
    history = [*dialogue(30), HumanMessage("now")]
    sent = WindowMemory(20).select(history, 100, count)
    assert 50 <= sent.tokens <= 100
    assert sent.messages == history[sent.left_out :]


def test_the_system_prompt_stays() -> None:
    history = [*dialogue(30, system="Be kind."), HumanMessage("now")]
    sent = WindowMemory(1).select(history, 1000, count)
    assert sent.messages == [history[0], *history[-3:]]
    assert sent.left_out == 58
