"""Connections and transactions on a base's SQLite file, and its faults in a person's words. Knows no document.

WAL mode: readers never wait for a writer. A writing transaction begins with BEGIN IMMEDIATE, because one that reads
first and asks for the lock later fails at once when somebody else wrote in between. `synchronous=NORMAL`: a power cut
may take the last documents back, never half of one; adding the folder again finds them missing.
"""

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phireside.errors import IndexDamagedError, KnowledgeError
from phireside.retrieval.schema import APPLICATION_ID, BASE_FILE, SCHEMA_VERSION, TABLES

BUSY_SECONDS = 30.0
_KEPT_CONNECTIONS = 8
_LOG_BYTES = 64 * 2**20  # that the write-ahead log keeps between two writers

DAMAGED = "Bring back your last copy of the folder, or delete it and add the documents again."
# SQLite's primary result codes (https://sqlite.org/rescode.html): what happened, and what to do.
_FAULTS = {
    3: ("you may not read or write it", "Give yourself the right to write to the file and to its folder."),
    5: (
        f"another program has held its lock for more than {BUSY_SECONDS:.0f} s",
        "Close the program that writes to it and try again.",
    ),
    8: ("it is read-only", "Give yourself the right to write to the file and to its folder."),
    10: (
        "the disk failed or is full",
        "Free some space, check the disk, and try again. What was there before is safe.",
    ),
    11: ("it is damaged", DAMAGED),
    13: ("the disk is full", "Free some space and try again. What was there before is safe."),
    14: ("it cannot be opened", "Check that you may write to its folder, and that the folder is there."),
    26: ("it is not a database", DAMAGED),
}
_OTHER_HINT = "Check that the file is there, then try again. What was there before is safe."


class Database:
    """One file for many threads.

    Args:
        folder: of the base; the file in it is created with its tables when it is missing.

    Raises:
        KnowledgeError: here and in both methods: the file cannot be opened, read or written; the hint says what to do.
        IndexDamagedError: the same, because it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / BASE_FILE
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue(_KEPT_CONNECTIONS)
        # SQLite's writers poll, which is unfair: the threads of this process queue here instead.
        self._turnstile = threading.Lock()
        self._closed = False
        _create(self.path)
        with self._faults(), self._connection() as connection:
            _prepare(connection, self.path)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that only reads; all of it sees the base as it was at its first statement."""
        with self._faults(), self._connection() as connection, _transaction(connection, "BEGIN"):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start and begins a new generation; all of it is saved, or
        nothing."""
        with (
            self._faults(),
            self._turnstile,
            self._connection() as connection,
            _transaction(connection, "BEGIN IMMEDIATE"),
        ):
            connection.execute("UPDATE base SET generation = generation + 1")
            yield connection

    def close(self) -> None:
        """Close the connections. A second call does nothing; a transaction then raises KnowledgeError."""
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One that is idle, or a new one. It goes back only when nothing went wrong with it."""
        connection = self._opened()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        try:
            self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()
        if self._closed:  # meanwhile
            self.close()

    def _opened(self) -> sqlite3.Connection:
        if self._closed:
            raise KnowledgeError("The base is closed already.", hint="Open it anew.")
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return _connect(self.path)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise explained(error, self.path) from error
        except UnicodeDecodeError as error:  # sqlite3 raises it for a damaged text, and for a message that repeats one
            raise IndexDamagedError(f"The base {self.path} cannot be used: it is damaged.", hint=DAMAGED) from error


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite itself rolls back on some faults
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def expecting_sound() -> Iterator[None]:
    """Around reading what only damage can have made unreadable: a value may then be of any type, or missing.

    Raises:
        IndexDamagedError: it is.
    """
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        raise IndexDamagedError(f"The base has values that were not written so: {error}.", hint=DAMAGED) from error


def explained(error: sqlite3.Error, path: Path) -> KnowledgeError:
    """SQLite's error in a person's words."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte of an extended code is the primary one
    what, hint = _FAULTS.get(code, (f"{type(error).__name__}: {error}", _OTHER_HINT))
    kind = IndexDamagedError if hint == DAMAGED else KnowledgeError
    return kind(f"The base {path} cannot be used: {what}.", hint=hint)


def _create(path: Path) -> None:
    """An empty file that only its owner may read, and its folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise KnowledgeError(
            f"{path} cannot be created: {getattr(error, 'strerror', None) or error}.",
            hint="Choose a folder that you may write to; PHIRESIDE_DATA_DIR sets where bases lie.",
        ) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _switch_to_wal(connection, time.monotonic() + BUSY_SECONDS)
        for pragma in ("synchronous=NORMAL", "foreign_keys=ON", f"journal_size_limit={_LOG_BYTES}"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _switch_to_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Two connections that switch a new file at once each hold what the other needs: SQLite refuses one without waiting
    for the busy timeout. Waiting and asking again is then for us to do."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.002)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables in a new file; refuse another program's, and another version's."""
    if _marks(connection) == (0, 0):
        with _transaction(connection, "BEGIN IMMEDIATE"):
            if _marks(connection) == (0, 0):  # asked again: another process may have been first
                if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                    raise KnowledgeError(f"{path} belongs to another program.", hint="Choose another folder.")
                for statement in TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    application, version = _marks(connection)
    if application != APPLICATION_ID:
        raise KnowledgeError(f"{path} belongs to another program.", hint="Choose another folder.")
    if version != SCHEMA_VERSION:
        raise KnowledgeError(
            f"{path} has the tables of version {version}; this program knows version {SCHEMA_VERSION}.",
            hint="A newer Phireside wrote it: upgrade this one, or choose another folder.",
        )


def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
    return (
        connection.execute("PRAGMA application_id").fetchone()[0],
        connection.execute("PRAGMA user_version").fetchone()[0],
    )
