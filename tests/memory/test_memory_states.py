"""What a memory made of a conversation is kept beside it, goes when it is no longer true, and old databases get a place
for it."""

import threading

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from sqlalchemy import create_engine, inspect, text

from phireside.errors import ConversationNotFoundError, StoreError
from phireside.memory import ConversationStore, MemoryState
from phireside.memory.schema import SCHEMA_VERSION
from phireside.memory.states import KEPT

# The statements by which version 1 created its tables, as SQLAlchemy wrote them then.
VERSION_1 = """
CREATE TABLE conversations (id VARCHAR(32) NOT NULL, title TEXT NOT NULL, folded_title TEXT NOT NULL,
    created_at {time} NOT NULL, updated_at {time} NOT NULL, options TEXT NOT NULL, PRIMARY KEY (id));
CREATE INDEX ix_conversations_updated_at ON conversations (updated_at);
CREATE TABLE phireside_schema (version INTEGER NOT NULL);
CREATE TABLE messages (id {serial} NOT NULL, conversation_id VARCHAR(32) NOT NULL, position INTEGER NOT NULL,
    payload TEXT NOT NULL, folded_text TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (conversation_id, position),
    FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE);
INSERT INTO phireside_schema VALUES (1);
INSERT INTO conversations VALUES
    ('c1', 'Old', 'old', '2026-01-02 03:04:05.000006', '2026-01-02 03:04:05.000006', '{{}}');
INSERT INTO messages (conversation_id, position, payload, folded_text) VALUES
    ('c1', 0, '{{"type": "human", "data": {{"content": "Hello?"}}}}', 'hello?'),
    ('c1', 1, '{{"type": "ai", "data": {{"content": "Hi."}}}}', 'hi.')
"""


@pytest.fixture
def version_1(url: str) -> str:
    """The URL of a database as version 1 left it."""
    ConversationStore(url).close()  # creates the folder
    engine = create_engine(url)
    sqlite = url.startswith("sqlite")
    with engine.begin() as connection:
        for table in ("memory_states", "messages", "conversations", "phireside_schema"):
            connection.execute(text(f"DROP TABLE {table}"))
        script = VERSION_1.format(time="DATETIME" if sqlite else "TIMESTAMP", serial="INTEGER" if sqlite else "SERIAL")
        for statement in script.split(";\n"):
            connection.exec_driver_sql(statement)
    engine.dispose()
    return url


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


# ---- version 1 ----


def test_a_database_of_version_1_opens_and_keeps_what_it_has(version_1: str) -> None:
    store = ConversationStore(version_1)
    assert [message.text for message in store.messages("c1")] == ["Hello?", "Hi."]
    assert store.get("c1").title == "Old"
    store.save_memory_state("c1", state(2))
    store.close()
    again = ConversationStore(version_1)
    assert again.memory_state("c1") == state(2)
    again.close()
    assert versions(version_1) == [SCHEMA_VERSION]


def test_many_may_open_a_database_of_version_1_at_once(version_1: str) -> None:
    faults: list[Exception] = []

    def open_it() -> None:
        try:
            ConversationStore(version_1).close()
        except Exception as error:  # noqa: BLE001 (it would only end the thread)
            faults.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert versions(version_1) == [SCHEMA_VERSION]


def test_a_migration_that_fails_leaves_version_1_as_it_was(version_1: str) -> None:
    engine = create_engine(version_1)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE memory_states (theirs INTEGER)"))  # of another program
    with pytest.raises(StoreError):
        ConversationStore(version_1)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE memory_states"))
    assert versions(version_1) == [1]
    ConversationStore(version_1).close()
    assert "memory_states" in inspect(engine).get_table_names()
    engine.dispose()


def versions(url: str) -> list[int]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = list(connection.scalars(text("SELECT version FROM phireside_schema")))
    engine.dispose()
    return found
