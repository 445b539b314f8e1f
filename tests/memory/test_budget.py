"""`Budget`: the parts of a context add up, and more than it has cannot be taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage, SystemMessage
from rehearsed import count, dialogue, rehearsed

from phireside.errors import ContextOverflowError
from phireside.memory import Budget, BufferMemory, MemoryState, SummaryMemory, budget_of, counter_of
from phireside.models import ChatGGUF
from phireside.settings import Settings


@given(
    st.integers(0, 500),
    st.dictionaries(st.sampled_from(["system", "tools", "passages", "answer"]), st.integers(0, 200)),
)
def test_what_is_taken_and_what_is_left_are_the_whole(size: int, parts: dict[str, int]) -> None:
    if sum(parts.values()) > size:
        with pytest.raises(ContextOverflowError, match=f"context of {size}"):
            Budget(size).take(**parts)
        return
    budget = Budget(size).take(**parts)
    assert budget.left == size - sum(parts.values())
    report = budget.report()
    assert report.pop("size") == sum(report.values()) == size
    assert budget.take(answer=budget.left).left == 0


def test_a_prompts_parts_add_up_to_its_tokens() -> None:
    history = [*dialogue(4, system="Be kind."), HumanMessage("now")]
    sent = SummaryMemory().select(history, 1000, count, MemoryState("They met.", ("The Human is Zoë.",), 4))
    used = Budget(1000).take(answer=100).use(sent, count)
    assert used.system + used.memory + used.history == sent.tokens
    assert used.system == 3 + len("Be kind.")
    assert sent.note is not None
    assert used.memory == 3 + len(sent.note.text)
    assert used.left == 900 - sent.tokens


def test_a_model_that_does_not_say_its_size_has_no_budget() -> None:
    assert budget_of(None) is None
    assert budget_of(rehearsed()) is None
    assert budget_of(rehearsed(profile={"max_input_tokens": 99})) == Budget(99)


def test_a_model_that_cannot_count_is_estimated_with_its_tools() -> None:
    tool = {"type": "function", "function": {"name": "clock", "description": "What time it is.", "parameters": {}}}
    bare = counter_of(rehearsed())([HumanMessage("Hello there")])
    assert 0 < bare < counter_of(rehearsed(), [tool])([HumanMessage("Hello there")])


@pytest.mark.real
def test_a_gguf_counts_exactly_and_leaves_room_for_its_answer(settings: Settings, starter_path: object) -> None:
    model = ChatGGUF(model="starter", settings=settings, n_ctx=600, max_tokens=100)
    assert budget_of(model) == Budget(600, answer=100)
    assert budget_of(model.model_copy(update={"max_tokens": None})) == Budget(600, answer=150)
    messages = dialogue(2, system="Be kind.")
    assert counter_of(model)(messages) == model.get_num_tokens_from_messages(messages)
    with pytest.raises(ContextOverflowError, match="context of 600 tokens 600 are left, not 601 for answer"):
        budget_of(model.model_copy(update={"max_tokens": 601}))


@pytest.mark.real
def test_the_system_part_is_not_negative_where_the_template_has_a_system_prompt_of_its_own(
    settings: Settings, starter_path: object
) -> None:
    model = ChatGGUF(model="starter", settings=settings, n_ctx=600, max_tokens=100)
    count_tokens = counter_of(model)
    sent = BufferMemory().select([SystemMessage("Be kind."), HumanMessage("Hello")], 500, count_tokens)
    used = Budget(600).use(sent, count_tokens)
    assert 2 <= used.system <= 6
    assert used.system + used.history == sent.tokens
