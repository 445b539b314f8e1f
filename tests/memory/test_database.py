"""Files and servers that cannot be used: each fault is a StoreError that says what to do, and costs nothing saved."""

import os
import sqlite3
import threading
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from phireside.errors import StoreError
from phireside.memory import ConversationStore
from phireside.memory.database import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "er" / "conversations.db"


def open_store(path: Path) -> ConversationStore:
    return ConversationStore(f"sqlite:///{path}")


def test_the_folder_is_created_and_the_file_is_its_owners_alone(path: Path) -> None:
    store = open_store(path)
    store.create("private")
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}
    store.close()
    assert set(modes) == {"conversations.db", "conversations.db-wal", "conversations.db-shm"}
    assert os.name == "nt" or set(modes.values()) == {"0o600"}


def test_sqlite_runs_in_wal_mode_with_foreign_keys_and_full_syncs(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    with database.reading() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        ]
    database.close()
    assert pragmas == ["wal", 1, 2, 30_000]


def test_a_reader_does_not_wait_for_a_writer(path: Path) -> None:
    store = open_store(path)
    made = store.create("read me")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE conversations SET title = 'half done'")
    assert store.get(made.id).title == "read me"  # would wait 30 s and fail
    other.execute("ROLLBACK")
    other.close()
    store.close()


def test_a_lock_held_too_long_is_reported_as_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phireside.memory.database.BUSY_SECONDS", 0.1)
    store = open_store(path)
    made = store.create("safe")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="lock") as caught:
        store.rename(made.id, "new")
    assert "Close the program" in caught.value.hint
    other.execute("ROLLBACK")
    other.close()
    store.rename(made.id, "new")
    assert store.get(made.id).title == "new"
    store.close()


def test_an_in_memory_store_is_one_database_for_all_threads() -> None:
    store = ConversationStore("sqlite://")
    thread = threading.Thread(target=store.create, args=("from a thread",))
    thread.start()
    thread.join()
    assert [c.title for c in store.list()] == ["from a thread"]
    store.close()


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("my diary\n" * 1000)
    with pytest.raises(StoreError, match="not a database") as caught:
        open_store(path)
    assert "another file" in caught.value.hint
    assert path.read_text() == "my diary\n" * 1000


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()
    store = open_store(path)
    assert store.list() == []
    store.close()


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_a_truncated_database_is_reported_as_damaged(path: Path, keep: float) -> None:
    store = open_store(path)
    made = store.create()
    for number in range(50):
        store.save_turn(made.id, [HumanMessage(f"q{number} " * 200), AIMessage("a " * 200)])
    store.close()
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(StoreError, match="damaged") as caught:
        open_store(path).messages(made.id)
    assert "last copy" in caught.value.hint


def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be created") as caught:
        open_store(tmp_path / "file" / "conversations.db")
    assert "PHIRESIDE_DATA_DIR" in caught.value.hint
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(tmp_path)
    with pytest.raises(StoreError, match="cannot be created"):
        open_store(tmp_path / "a\0b" / "conversations.db")


def test_a_read_only_database_is_refused(path: Path) -> None:
    store = open_store(path)
    made = store.create("safe")
    store.close()
    read_only = ConversationStore(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert read_only.get(made.id) == made
    with pytest.raises(StoreError, match="read-only") as caught:
        read_only.rename(made.id, "new")
    assert "right to write" in caught.value.hint
    read_only.close()


def test_a_full_disk_loses_only_the_turn_that_did_not_fit(path: Path) -> None:
    store = open_store(path)
    made = store.create()
    store.save_turn(made.id, [HumanMessage("first"), AIMessage("saved")])
    with store._database.writing() as connection:  # the pool hands the same connection out again
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="disk is full") as caught:
        store.save_turn(made.id, [HumanMessage("x" * 1_000_000), AIMessage("lost")])
    assert "Free some space" in caught.value.hint
    store.save_turn(made.id, [HumanMessage("second"), AIMessage("saved")])
    assert [m.text for m in store.messages(made.id)] == ["first", "saved", "second", "saved"]
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "conversations.db",
        "http://127.0.0.1/x",
        "mysql://127.0.0.1/x",
        "sqlite+nodriver:///x.db",
        "postgresql+nodriver://127.0.0.1/x",
    ],
)
def test_an_address_that_is_no_database_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        ConversationStore(url)
    assert caught.value.hint


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(StoreError, match=r"127\.0\.0\.1") as caught:
        ConversationStore("postgresql://ann:secret-word@127.0.0.1:1/phireside?connect_timeout=5")
    assert caught.value.hint
    assert "secret-word" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fault_does_not_repeat_what_people_wrote(path: Path) -> None:
    store = open_store(path)
    made = store.create()
    other = sqlite3.connect(path)
    other.execute("DROP TABLE messages")
    other.commit()
    other.close()
    with pytest.raises(StoreError) as caught:
        store.save_turn(made.id, [HumanMessage("my private words")])
    assert "private" not in str(caught.value)
    store.close()
