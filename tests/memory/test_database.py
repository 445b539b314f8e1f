"""Readers of the conversations see one moment and leave nothing open; faults of the database are told in our words."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from sqlalchemy import func, select

from phireside.errors import StoreError
from phireside.memory import ConversationStore
from phireside.memory.schema import messages


def test_a_reader_sees_one_moment_however_much_is_written_meanwhile(store: ConversationStore, url: str) -> None:
    made = store.create()
    store.save_turn(made.id, [HumanMessage("Hello?"), AIMessage("Hi.")])
    count = select(func.count()).select_from(messages)
    with store._database.reading() as connection:
        assert connection.scalar(count) == 2
        other = ConversationStore(url)
        other.save_turn(made.id, [HumanMessage("Again?"), AIMessage("Yes.")])
        other.close()
        assert connection.scalar(count) == 2
    assert len(store.messages(made.id)) == 4


def test_a_connection_that_is_in_use_while_the_store_is_closed_is_closed_after_it(store: ConversationStore) -> None:
    with store._database.reading() as connection:
        raw = connection.connection.dbapi_connection
        store.close()
        assert connection.scalar(select(func.count()).select_from(messages)) == 0
    with pytest.raises(Exception, match="closed"):
        raw.execute("SELECT 1")


@pytest.mark.parametrize("do", ["scrub", "try_scrub", "rewrite"])
def test_a_file_that_cannot_be_opened_any_more_is_told_where_it_is_scrubbed(tmp_path: Path, do: str) -> None:
    file = tmp_path / "chat.db"
    store = ConversationStore(f"sqlite:///{file}")
    with store._database.reading():  # has the only connection that is open
        file.rename(tmp_path / "elsewhere.db")
        file.mkdir()
        with pytest.raises(StoreError, match="cannot be opened") if do == "scrub" else nullcontext():
            getattr(store._database, do)()
    store.close()


def test_numbers_that_no_database_has_are_told(store: ConversationStore) -> None:
    made = store.create()
    for ask in (lambda: store.list(limit=2**70), lambda: store.set_feedback(made.id, 2**70, 1)):
        with pytest.raises(StoreError):
            ask()


def test_an_option_in_the_address_that_cannot_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="could not convert"):
        ConversationStore(f"sqlite:///{tmp_path / 'chat.db'}?timeout=soon")
