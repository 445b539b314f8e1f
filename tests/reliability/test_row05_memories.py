"""Row 5, for every memory: whatever stands in a conversation, what is sent fits, and everything is accounted for.

Counted by a real tokenizer and template. The bound: tokens of the prompt + max_tokens never exceed n_ctx, in prompts
of a chat and in those that ask for a summary.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from rehearsed import CALL, any_message, is_human, is_system, rehearsed

from phireside.errors import ContextOverflowError, NotSupportedError
from phireside.memory import (
    BufferMemory,
    Memory,
    MemoryState,
    Selection,
    SummaryBufferMemory,
    SummaryMemory,
    WindowMemory,
)
from phireside.models import ChatGGUF
from phireside.models.runtime import close_all
from phireside.settings import Settings

pytestmark = pytest.mark.real

N_CTX, ANSWER, LIMIT = 512, 12, 24
ROOM = N_CTX - ANSWER
SYSTEM = SystemMessage("You are brief.")
MEMORIES: dict[str, Memory] = {
    "buffer": BufferMemory(),
    "window": WindowMemory(3),
    "summary": SummaryMemory(max_tokens=LIMIT),
    "summary and buffer": SummaryBufferMemory(max_tokens=LIMIT),
}
every_memory = pytest.mark.parametrize("name", MEMORIES)


@pytest.fixture
def model(tiny_chatml: Path, settings: Settings) -> Iterator[ChatGGUF]:
    yield ChatGGUF(model=str(tiny_chatml), settings=settings, n_ctx=N_CTX, temperature=0, max_tokens=ANSWER)
    close_all()


def tied(messages: Sequence[BaseMessage]) -> list[tuple[int, int]]:
    """Where each tool result stands, and the call that it answers, by brute force."""
    found = []
    for j, result in enumerate(messages):
        calls = [
            i
            for i, message in enumerate(messages[:j])
            if isinstance(result, ToolMessage) and isinstance(message, AIMessage)
            and result.tool_call_id in [call["id"] for call in [*message.tool_calls, *message.invalid_tool_calls]]
        ]  # fmt: skip
        found += [(calls[-1], j)] if calls else []
    return found


def violations(sent: Selection, messages: Sequence[BaseMessage], tokens: int) -> list[str]:
    """Which rules of row 5 a selection breaks."""
    ids = {id(message) for message in sent.messages}
    kept = {i for i, message in enumerate(messages) if id(message) in ids}
    last = max((i for i, message in enumerate(messages) if is_human(message)), default=0)
    rules = {
        "it does not fit": max(tokens, sent.tokens) + ANSWER <= N_CTX,
        "it was counted wrongly": tokens == sent.tokens,
        "a system prompt is missing": {i for i, m in enumerate(messages) if is_system(m)} <= kept,
        "the last user turn is missing": set(range(last, len(messages))) <= kept,
        "a call without its result": all((i in kept) == (j in kept) for i, j in tied(messages)),
        "the numbers do not add up": len(kept) + sent.left_out + sent.summarized == len(messages),
    }
    return [rule for rule, held in rules.items() if not held]


def has_image(messages: Sequence[BaseMessage]) -> bool:
    return any(isinstance(b, dict) and b["type"] == "image_url" for message in messages for b in message.content)


FACTS = tuple(f"I have thing {number}, {'long ' * 55}." for number in range(24))
words = st.integers(0, 120).map(lambda n: "word " * n)
with_text = any_message.filter(lambda message: not has_image([message]))
long = words.map(HumanMessage) | words.map(AIMessage)
turns = st.lists(with_text | long, min_size=1, max_size=16) | st.lists(any_message, min_size=1, max_size=3)
states = st.builds(
    MemoryState, st.sampled_from(["", "They met. " * 3]), st.sampled_from([("I am 9.",), FACTS]), st.integers(0, 16)
)


@pytest.mark.parametrize("cases", [25, pytest.param(400, marks=pytest.mark.slow)])
@every_memory
def test_messages_of_every_kind_keep_the_bound_and_the_accounts(
    model: ChatGGUF, name: str, figure: Callable[[int, str], None], cases: int
) -> None:
    memory, seen, broken = MEMORIES[name], dict.fromkeys(("sent", "refused", "images"), 0), []

    @given(system=st.sampled_from([[], [SYSTEM]]), rest=turns, state=states)
    @examples(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def tried(system: list[BaseMessage], rest: list[BaseMessage], state: MemoryState) -> None:
        messages = [*system, *rest]
        try:
            sent = memory.select(messages, ROOM, model.get_num_tokens_from_messages, state)
        except ContextOverflowError:
            seen["refused"] += 1
            return
        except NotSupportedError:
            assert has_image(messages)  # this model reads text only, and says so
            seen["images"] += 1
            return
        tokens = model.get_num_tokens_from_messages(sent.messages)
        found = violations(sent, messages, tokens)
        broken.extend(found)
        assert found == []
        answer = model.invoke(sent.messages)
        assert isinstance(answer, AIMessage)
        assert answer.usage_metadata
        assert answer.usage_metadata["total_tokens"] <= N_CTX
        seen["sent"] += 1

    tried()
    figure(
        5,
        f"{name}: 0 unhandled errors, {len(broken)} violations of the bound in {seen['sent']} prompts of every kind of "
        f"message; {seen['refused']} refused, {seen['images']} with images refused",
    )
    assert seen["sent"] > cases // 10  # most random conversations are neither refused nor have an image


@pytest.mark.parametrize("turns", [90, pytest.param(300, marks=pytest.mark.slow)])
@every_memory
async def test_a_long_chat_always_fits(
    model: ChatGGUF, name: str, figure: Callable[[int, str], None], turns: int
) -> None:
    memory, writer, history = MEMORIES[name], rehearsed(), [SYSTEM]
    count, state, most, broken = model.get_num_tokens_from_messages, MemoryState(), 0, []
    for number in range(turns):
        stated = f" I have thing {number}, {'long ' * 55}." if number % 7 == 3 else f" I have thing {number}."
        history.append(HumanMessage(f"This is question {number}." + " More of it." * (number % 5) + stated))
        if number % 10 == 9:
            history += [AIMessage("", tool_calls=[CALL]), ToolMessage("12:00 " * 9, tool_call_id="call_0")]
        sent = memory.select(history, ROOM, count, state)
        broken += violations(sent, history, sent.tokens)
        most = max(most, sent.tokens + ANSWER)
        history.append(AIMessage(f"This is answer {number}."))
        async for new in memory.updates(history, ROOM, count, state, writer):
            state = new
    prompts = [count([HumanMessage(prompt)]) + LIMIT for prompt in writer.summaries]
    figure(
        5,
        f"{name}, {turns} turns: {len(broken)} violations, at most {most} of {N_CTX} tokens, {len(prompts)} summaries; "
        f"at the end {sent.left_out} messages left out, {sent.summarized} summarised",
    )
    assert broken == []
    assert all(tokens <= ROOM for tokens in prompts)
    assert sent.left_out + sent.summarized > turns
    # A long question may leave out what is not summarised yet; with a summary nothing is lost for good.
    later = memory.select([*history, HumanMessage("And?")], ROOM, count, state)
    assert (later.left_out == 0) == memory.compacts


@every_memory
async def test_a_tool_result_of_a_megabyte(model: ChatGGUF, name: str, figure: Callable[[int, str], None]) -> None:
    memory, writer, count = MEMORIES[name], rehearsed(), model.get_num_tokens_from_messages
    flood = ToolMessage("flood " * (1_000_000 // 6), tool_call_id="call_0")
    history = [SYSTEM, HumanMessage("Look it up."), AIMessage("", tool_calls=[CALL]), flood]
    with pytest.raises(ContextOverflowError, match=rf"have \d{{6}} tokens; there is room for {ROOM}"):
        memory.select(history, ROOM, count)
    history.append(AIMessage("Found."))
    states = [state async for state in memory.updates(history, ROOM, count, MemoryState(), writer)]
    history += [HumanMessage("And now?"), AIMessage("Now.")]
    before = states[-1] if states else MemoryState()
    states += [state async for state in memory.updates(history, ROOM, count, before, writer)]
    history.append(HumanMessage("Name a colour."))
    sent = memory.select(history, ROOM, count, states[-1] if states else before)
    assert violations(sent, history, count(sent.messages)) == []
    assert all(count([HumanMessage(prompt)]) + LIMIT <= ROOM for prompt in writer.summaries)
    assert [a.covered < b.covered for a, b in pairwise(states)] == [True] * (len(states) - 1)
    assert bool(states) == memory.compacts
    assert all("characters left out]" in prompt for prompt in writer.summaries[:1])
    figure(
        5,
        f"{name}, a tool result of 1 MB: refused with the numbers in the last turn; later {sent.left_out} messages "
        f"left out, {sent.summarized} summarised",
    )
