"""Databases of older versions open, keep what they have, and get a place for what is new."""

import threading

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from sqlalchemy import create_engine, inspect, text

from phireside.errors import StoreError
from phireside.memory import ConversationStore, MemoryState
from phireside.memory.schema import SCHEMA_VERSION, metadata, schema_version

# The statements by which older versions created their tables, as `.schema` shows them in files that these wrote
# (versions of 0a70276 and 7a2c724).
VERSION_1 = """
CREATE TABLE phireside_schema (version INTEGER NOT NULL);
CREATE TABLE conversations (id VARCHAR(32) NOT NULL, title TEXT NOT NULL, folded_title TEXT NOT NULL,
    created_at {time} NOT NULL, updated_at {time} NOT NULL, options TEXT NOT NULL, PRIMARY KEY (id));
CREATE INDEX ix_conversations_updated_at ON conversations (updated_at);
CREATE TABLE messages (id {serial} NOT NULL, conversation_id VARCHAR(32) NOT NULL, position INTEGER NOT NULL,
    payload TEXT NOT NULL, folded_text TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (conversation_id, position),
    FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE);
INSERT INTO conversations VALUES
    ('c1', 'Old', 'old', '2026-01-02 03:04:05.000006', '2026-01-02 03:04:05.000006', '{{}}');
INSERT INTO messages (conversation_id, position, payload, folded_text) VALUES
    ('c1', 0, '{{"type": "human", "data": {{"content": "Hello?"}}}}', 'hello?'),
    ('c1', 1, '{{"type": "ai", "data": {{"content": "Hi."}}}}', 'hi.')
"""
VERSION_2 = """;
CREATE TABLE memory_states (id {serial} NOT NULL, conversation_id VARCHAR(32) NOT NULL, covered INTEGER NOT NULL,
    summary TEXT NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (conversation_id, covered),
    FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE);
INSERT INTO memory_states (conversation_id, covered, summary, facts) VALUES ('c1', 2, 'A greeting.', '["It is Zoë."]')
"""
SCRIPTS = {1: VERSION_1, 2: VERSION_1 + VERSION_2}
FIRST_NEW = {1: "memory_states", 2: "facts"}  # the table that the next version adds first


@pytest.fixture(params=SCRIPTS)
def version(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def old(url: str, version: int) -> str:
    """The URL of a database as an older version left it."""
    ConversationStore(url).close()  # creates the folder
    engine = create_engine(url)
    sqlite = url.startswith("sqlite")
    with engine.begin() as connection:
        metadata.drop_all(connection)
        script = SCRIPTS[version].format(
            time="DATETIME" if sqlite else "TIMESTAMP", serial="INTEGER" if sqlite else "SERIAL"
        )
        for statement in script.split(";\n"):
            connection.exec_driver_sql(statement)
        connection.execute(schema_version.insert().values(version=version))
    engine.dispose()
    return url


def test_an_old_database_opens_keeps_what_it_has_and_takes_what_is_new(old: str, version: int) -> None:
    store = ConversationStore(old)
    assert [message.text for message in store.messages("c1")] == ["Hello?", "Hi."]
    assert store.get("c1").title == "Old"
    assert store.memory_state("c1") == (
        MemoryState("A greeting.", ("It is Zoë.",), 2) if version > 1 else MemoryState()
    )
    assert not store.facts.enabled
    assert store.facts.list() == []
    store.facts.switch(True)
    assert store.facts.unheard("c1") == []  # said before it was switched on
    store.save_turn("c1", [HumanMessage("I am 33."), AIMessage("I see.")])
    assert store.facts.unheard("c1") == [(2, "I am 33.")]
    (fact,) = store.facts.add("c1", 2, ["I am 33."])
    store.save_memory_state("c1", MemoryState("Summary.", ("It is Zoë.",), 4))
    store.close()
    again = ConversationStore(old)
    assert again.facts.enabled
    assert again.facts.list() == [fact]
    assert again.memory_state("c1") == MemoryState("Summary.", ("It is Zoë.",), 4)
    again.close()
    assert versions(old) == [SCHEMA_VERSION]


def test_it_then_has_the_tables_of_a_new_one(old: str) -> None:
    ConversationStore(old).close()
    migrated = columns(old)
    engine = create_engine(old)
    metadata.drop_all(engine)
    engine.dispose()
    ConversationStore(old).close()
    assert migrated == columns(old)


def test_many_may_open_it_at_once(old: str) -> None:
    faults: list[Exception] = []

    def open_it() -> None:
        try:
            ConversationStore(old).close()
        except Exception as error:  # noqa: BLE001 (it would only end the thread)
            faults.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert versions(old) == [SCHEMA_VERSION]


def test_a_migration_that_fails_leaves_it_as_it_was(old: str, version: int) -> None:
    engine = create_engine(old)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE {FIRST_NEW[version]} (theirs INTEGER)"))  # of another program
    with pytest.raises(StoreError):
        ConversationStore(old)
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {FIRST_NEW[version]}"))
    assert versions(old) == [version]
    ConversationStore(old).close()
    assert {"memory_states", "facts"} <= set(inspect(engine).get_table_names())
    engine.dispose()


def versions(url: str) -> list[int]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = list(connection.scalars(text("SELECT version FROM phireside_schema")))
    engine.dispose()
    return found


def columns(url: str) -> dict[str, list[tuple[str, str, bool]]]:
    """Of each table: name, type, and whether NULL is allowed."""
    engine = create_engine(url)
    look = inspect(engine)
    found = {
        table: sorted((each["name"], str(each["type"]), each["nullable"]) for each in look.get_columns(table))
        for table in metadata.tables
    }
    engine.dispose()
    return found
