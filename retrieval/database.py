"""Connections and transactions on a base's SQLite file, and its faults in a person's words. Knows no document.

WAL mode: readers never wait for a writer. A writing transaction begins with BEGIN IMMEDIATE, because one that reads
first and asks for the lock later fails at once when somebody else wrote in between. `synchronous=NORMAL`: a power cut
may take the last documents back, never half of one; adding the folder again finds them missing.
"""

import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phireside.errors import IndexDamagedError, KnowledgeError
from phireside.retrieval.schema import APPLICATION_ID, BASE_FILE, SCHEMA_VERSION, TABLES
from phireside.sqlite import BUSY_SECONDS, FAULTS, primary_code, switch_to_wal

MANY_CHUNKS = 100_000  # what takes time for each of them is not done beside something else, above
_KEPT_CONNECTIONS = 8
_SECURE_WORDS = sqlite3.sqlite_version_info >= (3, 42)
_LOG_BYTES = 64 * 2**20  # that the write-ahead log keeps between two writers

DAMAGED = "Bring back your last copy of the folder, or delete it and add the documents again."
_FAULTS = FAULTS | {code: (FAULTS[code][0], DAMAGED) for code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)}
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
        self._closed = self._removed = False
        _create(self.path)
        self._frozen = _frozen(self.path)
        with self._faults(), self._connection() as connection:
            _prepare(connection, self.path)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that only reads; all of it sees the base as it was at its first statement."""
        with self._faults(), self._connection() as connection, _transaction(connection, "BEGIN"):
            yield connection
        if self._frozen is not None and self._frozen != _frozen(self.path):
            raise KnowledgeError(f"The base {self.path} was changed by another program.", hint="Open it anew.")

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
            sql = "SELECT EXISTS (SELECT 1 FROM removed WHERE generation = (SELECT generation FROM base))"
            self._removed |= bool(connection.execute(sql).fetchone()[0])

    @contextmanager
    def trying(self) -> Iterator[sqlite3.Connection]:
        """A transaction whose changes are taken back. If somebody else writes, it fails at once."""
        with self._faults(), self._connection() as connection:
            connection.execute("PRAGMA busy_timeout=0")
            with _transaction(connection, "BEGIN IMMEDIATE", "ROLLBACK"):
                yield connection
            connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")

    def scrub(self) -> bool:
        """Leave nothing of removed chunks in the file and its log; whether there were any.

        The file's own pages have zeros there already (`secure_delete`). FTS5 before SQLite 3.42 keeps removed words
        until it merges its parts; that is done here, unless it takes long. While another program reads, the log stays.
        """
        if not self._removed:
            return False
        self._removed = False
        if not _SECURE_WORDS:
            with self.writing() as connection:
                if connection.execute("SELECT total FROM base").fetchone()[0] <= MANY_CHUNKS:
                    connection.execute("INSERT INTO words(words) VALUES ('optimize')")
        with self._faults(), self._turnstile, self._connection() as connection:
            connection.execute("PRAGMA busy_timeout=0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")
        return True

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
            return _connect(self.path) if self._frozen is None else _connect_frozen(self.path)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise explained(error, self.path) from error
        except UnicodeDecodeError as error:  # sqlite3 raises it for a damaged text, and for a message that repeats one
            raise IndexDamagedError(f"The base {self.path} cannot be used: it is damaged.", hint=DAMAGED) from error


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str, end: str = "COMMIT") -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite itself rolls back on some faults
            connection.execute("ROLLBACK")
        raise
    connection.execute(end)


@contextmanager
def expecting_sound() -> Iterator[None]:
    """Around reading what only damage can have made unreadable: a value may then be of any type, or missing.

    Raises:
        IndexDamagedError: it is.
    """
    try:
        yield
    except (TypeError, ValueError, OverflowError, LookupError) as error:
        raise IndexDamagedError(f"The base has values that were not written so: {error}.", hint=DAMAGED) from error


def explained(error: sqlite3.Error, path: Path) -> KnowledgeError:
    """SQLite's error in a person's words."""
    what, hint = _FAULTS.get(primary_code(error), (f"{type(error).__name__}: {error}", _OTHER_HINT))
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
        switch_to_wal(connection, time.monotonic() + BUSY_SECONDS)
        for pragma in ("synchronous=NORMAL", "foreign_keys=ON", "secure_delete=ON", f"journal_size_limit={_LOG_BYTES}"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _frozen(path: Path) -> tuple[int, int] | None:
    """Time and size of a file that can only be read, as on a read-only disk; None if it can be written, or has a log,
    which cannot be read then."""
    try:
        if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
            return None
        log = path.with_name(f"{path.name}-wal")
        found = path.stat()
        return None if log.exists() and log.stat().st_size else (found.st_mtime_ns, found.st_size)
    except OSError:  # SQLite says it better
        return None


def _connect_frozen(path: Path) -> sqlite3.Connection:
    """SQLite cannot keep its notes of who reads beside such a file: it is told that nobody writes, which is checked
    after each transaction."""
    address = f"{path.absolute().as_uri()}?immutable=1"
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables in a new file; refuse another program's, and another version's."""
    if _marks(connection) == (0, 0):
        with _transaction(connection, "BEGIN IMMEDIATE"):
            if _marks(connection) == (0, 0):  # asked again: another process may have been first
                if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                    raise KnowledgeError(f"{path} belongs to another program.", hint="Choose another folder.")
                for statement in TABLES:
                    connection.execute(statement)
                if _SECURE_WORDS:
                    connection.execute("INSERT INTO words(words, rank) VALUES ('secure-delete', 1)")
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
