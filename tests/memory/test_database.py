"""A reader of the conversations sees one moment, and leaves nothing open."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from sqlalchemy import func, select

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
