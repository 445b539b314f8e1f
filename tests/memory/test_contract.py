"""What every memory keeps to, whatever it is given. A strategy of one's own belongs into `STRATEGIES`."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from rehearsed import Counter, any_conversation, count, dialogue, is_human, is_system, rehearsed

from phireside.errors import ContextOverflowError, NotSupportedError, RequestError
from phireside.memory import (
    BufferMemory,
    Compaction,
    Memory,
    MemoryState,
    Selection,
    SummaryBufferMemory,
    SummaryMemory,
    WindowMemory,
)

STRATEGIES: dict[str, Callable[[], Memory]] = {
    "buffer": BufferMemory,
    "window of 0": lambda: WindowMemory(0),
    "window of 1": lambda: WindowMemory(1),
    "window of 5": lambda: WindowMemory(5),
    "summary": lambda: SummaryMemory(max_tokens=8),
    "summary without facts": lambda: SummaryMemory(max_tokens=30, max_facts=0),
    "summary and buffer": lambda: SummaryBufferMemory(max_tokens=8),
    "summary and 40 tokens": lambda: SummaryBufferMemory(recent_tokens=40, max_tokens=8, max_facts=2),
}
every_memory = pytest.mark.parametrize("memory", [pytest.param(make(), id=name) for name, make in STRATEGIES.items()])
states = st.builds(
    MemoryState,
    st.text(max_size=9),
    st.lists(st.text(min_size=1, max_size=5), max_size=2).map(tuple),
    st.integers(0, 20),
)


def pairs(messages: Sequence[BaseMessage]) -> list[tuple[BaseMessage, BaseMessage]]:
    """Each tool result with the message that called for it, by brute force."""
    found = []
    for j, result in enumerate(messages):
        if isinstance(result, ToolMessage):
            callers = [
                m for m in messages[:j]
                if isinstance(m, AIMessage)
                and result.tool_call_id in [call["id"] for call in [*m.tool_calls, *m.invalid_tool_calls]]
            ]  # fmt: skip
            found += [(callers[-1], result)] if callers else []
    return found


def positions(sent: Selection, history: Sequence[BaseMessage]) -> list[int]:
    """Where the messages that are sent stand in the conversation; they are the very objects, in order, and once."""
    where = {id(message): i for i, message in enumerate(history)}
    found = [where[id(message)] for message in sent.messages if message is not sent.note]
    assert found == sorted(set(found))
    return found


def check(sent: Selection, history: list[BaseMessage], budget: int) -> None:
    """The rules of a selection."""
    kept = positions(sent, history)
    system = [i for i, m in enumerate(history) if is_system(m)]
    humans = [i for i, m in enumerate(history) if is_human(m)]
    assert sent.tokens == (count(sent.messages) if sent.messages else 0)
    assert sent.tokens <= budget or not history
    assert set(system) <= set(kept)
    assert set(range(humans[-1] if humans else 0, len(history))) <= set(kept)  # the last turn
    for call, result in pairs(history):
        sent_ids = {id(message) for message in sent.messages}
        assert (id(call) in sent_ids) == (id(result) in sent_ids)
    assert sent.left_out >= 0
    assert sent.summarized >= 0
    assert len(kept) + sent.left_out + sent.summarized == len(history)
    assert (sent.note is None) or isinstance(sent.note, SystemMessage)
    if sent.note:
        at = next(i for i, message in enumerate(sent.messages) if message is sent.note)
        before = next((i for i, m in enumerate(history) if not is_system(m)), len(history))
        assert at == before
    else:
        assert sent.summarized == 0


def least(history: Sequence[BaseMessage]) -> int:
    """Tokens of what has to survive: system messages and the last turn, with the turns that tools tie to it."""
    start = max((i for i, m in enumerate(history) if is_human(m)), default=0)
    where = {id(message): i for i, message in enumerate(history)}
    spans = [(where[id(call)], where[id(result)]) for call, result in pairs(history)]
    humans = {0} | {i for i, m in enumerate(history) if is_human(m)}
    while any(call < start <= result for call, result in spans) or start not in humans:
        start -= 1
    return count([m for i, m in enumerate(history) if i >= start or is_system(m)])


@every_memory
@given(history=any_conversation, budget=st.integers(0, 160), state=states)
@examples(deadline=None)
def test_a_selection_fits_is_whole_and_tells_what_is_missing(
    memory: Memory, history: list[BaseMessage], budget: int, state: MemoryState
) -> None:
    copy = list(history)
    try:
        sent = memory.select(history, budget, count, state)
    except ContextOverflowError:
        assert least(history) > budget  # it could not be helped
        return
    check(sent, history, budget)
    assert history == copy


@every_memory
def test_an_empty_conversation_is_empty(memory: Memory) -> None:
    counter = Counter()
    assert memory.select([], 10, counter) == Selection([], left_out=0, tokens=0)
    assert memory.due([], 10, counter) is None
    assert counter.calls == 0


@every_memory
def test_a_question_that_does_not_fit_is_refused_with_the_numbers(memory: Memory) -> None:
    history = [*dialogue(3, system="Be kind."), HumanMessage("now")]
    with pytest.raises(ContextOverflowError, match="19 tokens; there is room for 18") as caught:
        memory.select(history, 18, count, MemoryState("What was said.", (), 4))
    assert "n_ctx" in caught.value.hint
    assert memory.select(history, 19, count).messages == [history[0], history[-1]]


@pytest.mark.parametrize("name", [name for name in STRATEGIES if not name.startswith("window")])
def test_all_is_sent_while_nothing_needs_to_be_left_out(name: str) -> None:
    memory, history = STRATEGIES[name](), dialogue(5, system="Be kind.")
    assert memory.select(history, 10_000, count).messages == history


@every_memory
@given(history=any_conversation, budget=st.integers(0, 400), state=states)
@examples(max_examples=60, deadline=None)
async def test_what_is_due_ends_and_never_covers_what_is_not_finished(
    memory: Memory, history: list[BaseMessage], budget: int, state: MemoryState
) -> None:
    spoken = [message for message in history if not is_system(message)]
    model, made = rehearsed(), replace(state, covered=min(state.covered, len(spoken)))
    before, copy = made, list(history)
    async for new in memory.updates(history, budget, count, made, model):
        assert new.covered > before.covered
        before = new
    assert history == copy
    assert before.covered <= len(spoken)
    if before is not made:
        open_turn = spoken[before.covered :]
        last = history[-1]
        if not isinstance(last, AIMessage) or last.tool_calls:
            assert any(is_human(m) for m in open_turn) or not any(is_human(m) for m in spoken)
        for message, result in pairs(history):
            assert any(message is m for m in open_turn) == any(result is m for m in open_turn)
    for prompt in model.summaries:
        assert count([HumanMessage(prompt)]) <= budget


@every_memory
def test_long_conversations_are_counted_a_few_times_only(memory: Memory) -> None:
    for budget in range(22, 6002, 437):
        counter = Counter()
        memory.select(dialogue(300), budget, counter)
        assert counter.calls <= 22  # 2 * log2(300) + 4


@every_memory
@given(lengths=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=2, max_size=40))
@examples(max_examples=40, deadline=None)
async def test_prompts_only_grow_at_their_end_until_a_block_is_left_out_or_a_summary_is_written(
    memory: Memory, lengths: list[tuple[int, int]]
) -> None:
    model, state, history = rehearsed(), MemoryState(), [SystemMessage("Be kind.")]
    before: Selection | None = None
    for number, (asked, answered) in enumerate(lengths):
        history.append(HumanMessage(f"{number} " + "q" * asked))
        sent = memory.select(history, 400, count, state)
        if before and (before.left_out, before.summarized) == (sent.left_out, sent.summarized):
            assert sent.messages[: len(before.messages)] == before.messages
        history.append(AIMessage("a" * answered))
        before = sent
        state = [state, *[new async for new in memory.updates(history, 400, count, state, model)]][-1]


@every_memory
def test_the_start_of_what_is_sent_never_goes_back(memory: Memory) -> None:
    history, starts = dialogue(60), []
    for turns in range(1, 61):
        sent = memory.select(history[: 2 * turns - 1], 300, count)
        starts.append(sent.left_out)
    assert starts == sorted(starts)


async def test_a_memory_that_makes_nothing_of_old_messages_says_so() -> None:
    with pytest.raises(NotSupportedError):
        await BufferMemory().compact(Compaction(MemoryState(), (), 0, 1), rehearsed())
    assert not BufferMemory().compacts
    assert SummaryMemory().compacts


@pytest.mark.parametrize(
    "make",
    [
        lambda: BufferMemory(budget=0),
        lambda: WindowMemory(-1),
        lambda: SummaryMemory(max_tokens=0),
        lambda: SummaryMemory(max_facts=-1),
        lambda: SummaryBufferMemory(recent_tokens=-1),
    ],
)
def test_a_number_out_of_range_is_refused(make: Callable[[], Memory]) -> None:
    with pytest.raises(RequestError):
        make()


def test_the_store_alone_does_not_load_langchains_agents() -> None:
    code = (
        "import sys, phireside.memory as m; m.ConversationStore; assert 'langgraph' not in sys.modules; "
        "m.BufferMemory; print('langgraph' in sys.modules, hasattr(m, 'nothing'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout.split() == ["True", "False"]
