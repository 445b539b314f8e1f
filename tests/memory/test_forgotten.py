"""What is forgotten, replaced or deleted does not come back, and leaves no bytes behind where that is promised."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from phireside.errors import StoreError
from phireside.memory import ConversationStore, MemoryState

PIN, CATS = "My pin is 4711.", "I have two cats."


def turn(text: str) -> list[BaseMessage]:
    return [HumanMessage(text), AIMessage("I see.")]


@pytest.fixture
def conversation(store: ConversationStore) -> str:
    made = store.create()
    store.facts.switch(True)
    store.save_turn(made.id, turn(f"Hello! {PIN} {CATS}"))
    return made.id


def forget(store: ConversationStore, conversation: str, text: str = PIN) -> None:
    (fact,) = store.facts.add(conversation, 0, [text])
    store.facts.forget(fact.id)


# ---- what a summary was made of ----


def test_a_summary_that_goes_on_from_a_list_with_a_forgotten_fact_is_refused(
    store: ConversationStore, conversation: str
) -> None:
    before = store.save_memory_state(conversation, MemoryState("S", (PIN, CATS), 1))
    forget(store, conversation)
    with pytest.raises(StoreError, match="not kept"):
        store.save_memory_state(conversation, MemoryState("T", (PIN, CATS), 2), before=before)
    now = store.memory_state(conversation)
    assert now == MemoryState("S", (CATS,), 1)
    odd = MemoryState("T \x00 \ud800", now.facts, 2)
    kept = store.save_memory_state(conversation, odd, before=now)
    assert store.memory_state(conversation) == kept != odd  # what goes on from it is not refused


def test_what_was_forgotten_or_corrected_is_not_found_again_in_the_message_that_says_it(
    store: ConversationStore, conversation: str
) -> None:
    forget(store, conversation)
    (cats,) = store.facts.add(conversation, 0, [CATS])
    store.facts.edit(cats.id, "I have three cats.")
    assert store.save_memory_state(conversation, MemoryState("S", (PIN, CATS.upper(), "I am 9."), 2)).facts == (
        "I am 9.",
    )
    as_of = store.get(conversation).updated_at
    assert [fact.text for fact in store.facts.learned(conversation, 0, [PIN, "I am 9."], as_of=as_of)] == ["I am 9."]


def test_said_anew_it_is_learned_again_and_with_the_message_goes_what_was_noted_of_it(
    store: ConversationStore, conversation: str
) -> None:
    forget(store, conversation)
    store.save_turn(conversation, turn(f"Hello! {PIN} {CATS}"), at=0)  # regenerate: the same message
    assert store.save_memory_state(conversation, MemoryState("S", (PIN,), 2)).facts == ()
    store.save_turn(conversation, turn(PIN))
    as_of = store.get(conversation).updated_at
    assert [fact.text for fact in store.facts.learned(conversation, 2, [PIN], as_of=as_of)] == [PIN]
    store.save_turn(conversation, turn(f"Again: {PIN}"), at=0)
    assert store.save_memory_state(conversation, MemoryState("S", (PIN,), 2)).facts == (PIN,)


def test_those_who_keep_prompts_are_told_of_conversations_whose_summary_listed_it(
    store: ConversationStore, conversation: str
) -> None:
    other = store.create().id
    store.save_turn(other, turn("Hm."))
    store.save_memory_state(other, MemoryState("S", (CATS,), 1))
    store.save_memory_state(conversation, MemoryState("S", (PIN,), 1))
    store.save_memory_state(conversation, MemoryState("S", (), 2))  # no longer, but it may have been read
    told: list[frozenset[str]] = []
    store.facts.watch(told.append)
    forget(store, conversation)
    assert told == [frozenset({conversation})] * 2


# ---- titles ----


@pytest.mark.parametrize(("title", "expected"), [("", "Something else."), ("Mine", "Mine")])
def test_a_title_that_was_made_of_the_first_message_goes_with_it(
    store: ConversationStore, title: str, expected: str
) -> None:
    made = store.create(title)
    store.save_turn(made.id, turn(PIN))
    store.save_turn(made.id, turn("More."), at=2)
    assert store.get(made.id).title == (title or PIN)
    store.save_turn(made.id, turn("Something else."), at=0)
    assert store.get(made.id).title == expected
    assert store.list("4711") == []


# ---- bytes ----


@pytest.fixture
def data(tmp_path: Path) -> Iterator[tuple[Path, ConversationStore]]:
    """A folder and a store with a file in it."""
    store = ConversationStore(f"sqlite:///{tmp_path / 'chat.db'}")
    yield tmp_path, store
    store.close()


def found(folder: Path, secret: str) -> list[str]:
    return [path.name for path in sorted(folder.rglob("*")) if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.parametrize("how", ["delete", "replace"])
def test_a_deleted_conversation_and_a_replaced_message_leave_no_bytes(
    data: tuple[Path, ConversationStore], how: str
) -> None:
    folder, store = data
    made = store.create().id
    store.save_turn(made, turn(PIN))
    assert found(folder, "4711")
    store.delete(made) if how == "delete" else store.save_turn(made, turn("Something else."), at=0)
    assert found(folder, "4711") == []


def test_a_reader_of_another_program_keeps_nobody_waiting_then(
    data: tuple[Path, ConversationStore], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, store = data
    made, asked = store.create().id, []
    emptied = store._database._emptied
    monkeypatch.setattr(store._database, "_emptied", lambda: asked.append(emptied()) or asked[-1])
    store.save_turn(made, turn(PIN))
    other = ConversationStore(f"sqlite:///{folder / 'chat.db'}")
    with other._database.reading() as connection:
        connection.exec_driver_sql("SELECT * FROM messages").all()
        store.delete(made)
    assert "still has its bytes" in caplog.text
    assert set(asked) == {False}
    assert len(asked) < 100  # each is tried after 10 ms
    other.close()


def test_a_database_of_before_bytes_were_overwritten_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    ConversationStore(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as old:
        old.executescript("PRAGMA secure_delete=OFF; CREATE TABLE t (x); UPDATE phireside_schema SET version = 2;")
        for table in ("facts", "facts_switch", "conversation_facts", "forgotten_facts"):
            old.execute(f"DROP TABLE {table}")
        old.executemany("INSERT INTO t VALUES (?)", [(f"{PIN} {i} " + "x" * 300,) for i in range(200)])
        old.execute("DROP TABLE t")
    old.close()
    assert found(tmp_path, "4711")
    store = ConversationStore(f"sqlite:///{path}")
    assert found(tmp_path, "4711") == []
    assert store.list() == []
    store.close()


# ---- two at once ----


def test_deleting_conversations_and_forgetting_what_has_lost_its_message_do_not_wait_for_each_other(
    store: ConversationStore, url: str
) -> None:
    store.facts.switch(True)
    other, faults, barrier = ConversationStore(url), [], threading.Barrier(2)

    def run(work: list[str], do: object) -> None:
        try:
            for each in work:
                barrier.wait(30)
                do(each)  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 (it would only end the thread)
            faults.append(error)
            barrier.abort()

    made = [store.create().id for _ in range(30)]
    facts = []
    for number, each in enumerate(made):
        text = f"My pin is {number}."
        store.save_turn(each, turn(text))
        facts += store.facts.add(each, 0, [text])
        store.save_turn(each, turn("Something else."), at=0)
        store.save_memory_state(each, MemoryState("S", (text,), 2))
        store.save_memory_state(each, MemoryState("S", (text,), 1))
    assert all(fact.position is None for fact in store.facts.list())
    ids = [fact.id for fact in facts]
    threads = [
        threading.Thread(target=run, args=(made, store.delete)),
        threading.Thread(target=run, args=(ids, other.facts.forget)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert store.list() == store.facts.list() == []
    other.close()
