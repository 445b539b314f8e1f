"""What a memory made of a conversation is kept beside it, and goes when it is no longer true."""

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from sqlalchemy import create_engine, text

from phireside.errors import ConversationNotFoundError, StoreError
from phireside.memory import ConversationStore, MemoryState
from phireside.memory.states import KEPT


def turns(count: int, first: int = 0) -> list[BaseMessage]:
    return [m for i in range(first, first + count) for m in (HumanMessage(f"q{i}"), AIMessage(f"a{i}"))]


def state(covered: int) -> MemoryState:
    return MemoryState(f"Summary of {covered}.", ("The Human is Zoë.", f"{covered}"), covered)


@pytest.fixture
def conversation(store: ConversationStore) -> str:
    made = store.create()
    store.save_turn(made.id, turns(5))
    return made.id


def test_a_state_is_there_again_in_another_store(store: ConversationStore, conversation: str, url: str) -> None:
    assert store.memory_state(conversation) == MemoryState()
    store.save_memory_state(conversation, state(4))
    store.save_memory_state(conversation, state(6))
    store.close()
    again = ConversationStore(url)
    assert again.memory_state(conversation) == state(6)
    again.close()


def test_any_text_can_be_kept(store: ConversationStore, conversation: str) -> None:
    odd = "Grüße \x00 \ud800 👩‍👩‍👧 '; DROP TABLE messages; --"
    store.save_memory_state(conversation, MemoryState(odd, (odd,), 2))
    kept = store.memory_state(conversation)
    assert kept.summary.startswith("Grüße \ufffd \ufffd 👩‍👩‍👧")
    assert kept.facts[0].startswith("Grüße \x00")


@pytest.mark.parametrize(("at", "left"), [(0, 0), (3, 0), (4, 4), (5, 4), (6, 6), (8, 6), (10, 6)])
def test_replacing_messages_brings_back_the_state_that_covers_none_of_them(
    store: ConversationStore, conversation: str, at: int, left: int
) -> None:
    for covered in (4, 6):
        store.save_memory_state(conversation, state(covered))
    expected = state(left) if left else MemoryState()
    assert store.memory_state(conversation, at=at) == expected
    assert store.memory_state(conversation) == state(6)  # that was only a look
    store.save_turn(conversation, turns(4, first=7), at=at)
    assert store.memory_state(conversation) == expected


def test_system_messages_among_the_turns_are_not_counted(store: ConversationStore) -> None:
    made = store.create()
    store.save_turn(made.id, [SystemMessage("Be kind."), *turns(2), SystemMessage("Be brief."), *turns(1)])
    store.save_memory_state(made.id, state(4))
    assert store.memory_state(made.id, at=5) == state(4)
    store.save_turn(made.id, turns(1), at=5)
    assert store.memory_state(made.id) == state(4)
    store.save_turn(made.id, turns(1), at=4)
    assert store.memory_state(made.id) == MemoryState()


def test_a_new_turn_keeps_the_state_and_a_deleted_conversation_takes_it_along(
    store: ConversationStore, conversation: str, url: str
) -> None:
    store.save_memory_state(conversation, state(4))
    store.save_turn(conversation, turns(1))
    assert store.memory_state(conversation) == state(4)
    store.delete(conversation)
    with pytest.raises(ConversationNotFoundError):
        store.memory_state(conversation)
    with pytest.raises(ConversationNotFoundError):
        store.save_memory_state(conversation, state(4))
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM memory_states")) == 0
    engine.dispose()


def test_a_state_made_of_what_has_changed_since_is_refused(store: ConversationStore, conversation: str) -> None:
    as_of = store.get(conversation).updated_at
    store.save_memory_state(conversation, state(4), as_of=as_of)
    store.save_turn(conversation, turns(1), at=8)
    with pytest.raises(StoreError, match="summary of 6 messages was not kept"):
        store.save_memory_state(conversation, state(6), as_of=as_of)
    assert store.memory_state(conversation) == state(4)


@pytest.mark.parametrize("covered", [-1, 0, 11])
def test_a_state_that_covers_nothing_or_more_than_there_is_is_refused(
    store: ConversationStore, conversation: str, covered: int
) -> None:
    with pytest.raises(StoreError, match="changed and has 10"):
        store.save_memory_state(conversation, state(covered))


def test_only_the_last_states_are_kept(store: ConversationStore, url: str) -> None:
    made = store.create()
    store.save_turn(made.id, turns(100))
    for covered in range(2, 200, 2):
        store.save_memory_state(made.id, state(covered))
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM memory_states")) == KEPT
    engine.dispose()
    assert store.memory_state(made.id) == state(198)
    store.save_memory_state(made.id, state(180))  # an older one, e.g. made again after an edit
    assert store.memory_state(made.id) == state(180)
