"""All conversations deleted at once, on SQLite and PostgreSQL: nothing of them is left, and the store goes on."""

from pathlib import Path

from langchain_core.messages import AIMessage, HumanMessage
from sqlalchemy import func, select

from phireside.memory import ConversationStore, MemoryState
from phireside.memory.schema import forgotten_facts

SECRET = "My pin is 4711."


def fill(store: ConversationStore) -> None:
    store.facts.switch(True)
    for number in range(3):
        opened = store.create(f"{SECRET} {number}").id
        store.save_turn(opened, [HumanMessage(f"{SECRET} {number}"), AIMessage("Noted, 4711.")])
        store.save_memory_state(opened, MemoryState(f"Summary: {SECRET}", (SECRET,), 2))
    store.facts.add(opened, 0, ["I have a cat."])


def test_all_conversations_go_and_facts_stay_without_their_source(store: ConversationStore) -> None:
    fill(store)
    assert store.whole.count() == 3
    assert store.whole.delete() == 3
    assert (store.whole.count(), store.list()) == (0, [])
    fact = store.facts.list()[0]
    assert (fact.text, fact.conversation_id, fact.position, fact.source) == ("I have a cat.", None, None, "")
    assert store.whole.delete() == 0


def test_nothing_is_noted_of_what_was_forgotten_in_them(store: ConversationStore) -> None:
    fill(store)
    store.facts.forget(store.facts.add(store.list()[0].id, 0, [SECRET])[0].id)
    noted = select(func.count()).select_from(forgotten_facts)
    with store._database.reading() as connection:
        assert connection.scalar(noted)
    store.whole.delete()
    with store._database.reading() as connection:
        assert not connection.scalar(noted)


def test_the_store_goes_on_after_all_were_deleted(store: ConversationStore) -> None:
    fill(store)
    store.whole.delete()
    again = store.create().id
    store.save_turn(again, [HumanMessage("Hello"), AIMessage("Hi.")])
    assert [message.text for message in store.messages(again)] == ["Hello", "Hi."]


def test_nothing_of_them_is_in_the_files_while_the_store_is_open(tmp_path: Path) -> None:
    store = ConversationStore(f"sqlite:///{tmp_path / 'chat.db'}")
    fill(store)
    opened = store.create("long").id
    store.save_turn(opened, [HumanMessage(SECRET * 20_000), AIMessage("Long.")])
    before = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert any(b"4711" in file.read_bytes() for file in tmp_path.iterdir())
    store.whole.delete()
    assert not any(b"4711" in file.read_bytes() for file in tmp_path.iterdir())
    assert (tmp_path / "chat.db").stat().st_size < before / 4, "The file is as small as it can be."
    store.close()
