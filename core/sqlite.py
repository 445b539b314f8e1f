"""What each SQLite file of ours needs: WAL mode, waiting for others, faults in a person's words. Knows no table."""

import sqlite3
import time

BUSY_SECONDS = 30.0  # another connection is waited for

# SQLite's primary result codes (https://sqlite.org/rescode.html): what happened, and what to do.
FAULTS = {
    3: ("you may not read or write it", "Give yourself the right to write to the file and to its folder."),
    5: (
        f"another program has held its lock for more than {BUSY_SECONDS:.0f} s",
        "Close the program that writes to it and try again.",
    ),
    8: ("it is read-only", "Give yourself the right to write to the file and to its folder, or choose another place."),
    10: ("the disk failed or is full", "Free some space, check the disk, and try again. What was saved is safe."),
    11: ("it is damaged", "Bring back your last copy of it, or rescue what is left with `sqlite3 FILE .recover`."),
    13: ("the disk is full", "Free some space and try again. What was saved before is safe."),
    14: ("it cannot be opened", "Check that the path is a file and that you may write to it and to its folder."),
    26: ("it is not a database", "Choose another file, or move this one away: a new database is then created."),
}


def primary_code(error: object) -> int:
    """SQLite's result code of an error; 0 if it is none of SQLite's."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF  # the low byte of an extended code is the primary one


def switch_to_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Two connections that switch a new file at once each hold what the other needs: SQLite refuses one without waiting
    for the busy timeout. Waiting and asking again is then for us to do.

    Args:
        connection: without an open transaction.
        deadline: on the clock of `time.monotonic`.
    """
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.002)
