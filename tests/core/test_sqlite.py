"""What SQLite itself does not wait for."""

import sqlite3
import time

import pytest

from phireside.sqlite import switch_to_wal


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
    switch_to_wal(busy, time.monotonic() + 60)
    assert busy.times == 0
    with pytest.raises(sqlite3.OperationalError):  # but not for ever
        switch_to_wal(Busy(10**9), time.monotonic() + 0.01)
    with pytest.raises(sqlite3.OperationalError):  # and no other fault is waited for
        switch_to_wal(Busy(1, sqlite3.SQLITE_READONLY), time.monotonic() + 60)
