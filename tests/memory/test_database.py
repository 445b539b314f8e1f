"""What `memory/database.py` does where SQLite itself does not wait, and that a reader sees one moment."""

import sqlite3
import time

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from sqlalchemy import func, select

from phireside.memory import ConversationStore, database
from phireside.memory.schema import messages


class Busy:
    """A connection whose file other connections are switching to WAL, for the first `times` attempts."""

    def __init__(self, times: int, code: int = sqlite3.SQLITE_BUSY) -> None:
        self.times, self.code = times, code

    def execute(self, _statement: str) -> sqlite3.Cursor:
        if self.times:
            self.times -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = self.code
            raise error
        return sqlite3.connect(":memory:").cursor()


def test_the_switch_to_wal_is_tried_again_while_others_switch_too() -> None:
    busy = Busy(3)
    database._switch_to_wal(busy, time.monotonic() + 60)
    assert busy.times == 0
    with pytest.raises(sqlite3.OperationalError):  # but not for ever
        database._switch_to_wal(Busy(10**9), time.monotonic() + 0.01)
    with pytest.raises(sqlite3.OperationalError):  # and no other fault is waited for
        database._switch_to_wal(Busy(1, sqlite3.SQLITE_READONLY), time.monotonic() + 60)


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
