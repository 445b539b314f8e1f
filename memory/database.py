"""Connections and transactions, on SQLite and PostgreSQL, and their faults in a person's words. Knows no conversation.

SQLite runs in WAL mode: readers never wait for a writer. A writing transaction begins with BEGIN IMMEDIATE, because one
that reads first and asks for the lock later fails at once when somebody else wrote in between, however long the busy
timeout. `synchronous=FULL` syncs the log at every commit: a turn that was shown as saved survives a power cut too, not
only the end of the process, for some milliseconds in a turn that took seconds. `secure_delete=ON` writes zeros over
what is deleted; what the log still has of it goes with `scrub`. Versions 1 and 2 did not write zeros.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, func, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from phireside.errors import StoreError
from phireside.memory.schema import (
    SCHEMA_VERSION,
    conversation_facts,
    facts,
    facts_switch,
    forgotten_facts,
    memory_states,
    metadata,
    schema_version,
)
from phireside.sqlite import BUSY_SECONDS, FAULTS, primary_code, switch_to_wal

log = logging.getLogger(__name__)

SCRUB_SECONDS = 10.0

_SCHEMA_LOCK = 0x50484952  # "PHIR": our number among PostgreSQL's advisory locks


class Database:
    """One database for many threads; its tables are created when they are missing.

    Args:
        url: SQLAlchemy's URL, `sqlite:///path` (the folder is created), `sqlite://` (in memory) or `postgresql://…`.

    Raises:
        StoreError: the URL or the file cannot be used, the server does not answer, or the tables are of another
            version.
    """

    def __init__(self, url: str) -> None:
        address = _parse(url)
        self.where = address.render_as_string(hide_password=True)
        self.is_sqlite = address.get_backend_name() == "sqlite"
        # SQLite has one writer at a time. Waiting for it is polling, which is unfair, and would take the pool's
        # connections from the readers; the threads of this process queue here instead.
        self._turnstile = threading.Lock() if self.is_sqlite else nullcontext()
        self._closed = False
        self._engine = _engine(address, self.is_sqlite)
        if self.is_sqlite:
            _create_file(address)
        # SQLite's readers see one moment anyway; PostgreSQL's default is a new one with every statement.
        one_moment = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading = self._engine.execution_options(**one_moment)
        self._writing = self._engine.execution_options(immediate=True)
        try:
            self._prepare_tables()
        except StoreError:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads; all of it sees the database as it was at its first statement.

        Raises:
            StoreError: any fault of the database.
        """
        with self._faults(), self._reading.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its start (SQLite); all of it is saved, or nothing.

        Raises:
            StoreError: any fault of the database.
        """
        with self._faults(), self._turnstile, self._writing.begin() as connection:
            yield connection

    def scrub(self, seconds: float | None = None) -> None:
        """Empty SQLite's log into the file, so that what was deleted is in neither. Waits for others who read it.

        PostgreSQL keeps the bytes of deleted rows until its own VACUUM.

        Args:
            seconds: how long others are waited for; None = `SCRUB_SECONDS`.

        Raises:
            StoreError: another program has read for longer; the deletion itself is saved.
        """
        deadline = time.monotonic() + (SCRUB_SECONDS if seconds is None else seconds)
        while self.is_sqlite and not self._emptied():
            if time.monotonic() > deadline:
                raise StoreError(
                    f"It is deleted, but the log of {self.where} still has its bytes.",
                    hint="Close the other program that reads the database: the log goes when all have closed it.",
                )
            time.sleep(0.01)

    def try_scrub(self) -> None:
        """`scrub` while somebody waits: if that takes too long, it is left to the next one or to `close`."""
        try:
            self.scrub(SCRUB_SECONDS / 50)
        except StoreError as error:
            log.warning("%s", error)

    def _emptied(self) -> bool:
        """Whether nobody was in the way. It is not waited for here, because that would keep writers out."""
        with self._faults(), self._turnstile, closing(self._engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute("PRAGMA busy_timeout=0")
            try:
                return not cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")
                cursor.close()

    def close(self) -> None:
        """Close all connections; SQLite then folds its log into the file. A second call does nothing."""
        self._closed = True
        # What a thread still has goes back to the old pool, which nobody would ever empty.
        event.listen(self._engine, "checkin", lambda connection, _record: connection.close())
        self._engine.dispose()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        if self._closed:
            raise StoreError("The conversations are closed already.", hint="Open a new ConversationStore.")
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:  # the driver's own: of a connection without SQLAlchemy
            raise _explained(error, self.where) from error
        except OverflowError as error:  # sqlite3's, of a whole number of more than 64 bits
            raise StoreError(f"The conversations cannot be asked for that: {error}.") from error

    def _prepare_tables(self) -> None:
        with self.reading() as connection:
            version = _version(connection)
        if version in _MIGRATIONS:
            self.rewrite()
        if version is None or version in _MIGRATIONS:
            with self.writing() as connection:
                if not self.is_sqlite:
                    connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
                # Asked again: another process may have been first.
                version = _version(connection) or self._create_tables(connection)
                while migrate := _MIGRATIONS.get(version):
                    migrate(connection)
                    version += 1
                    connection.execute(schema_version.update().values(version=version))
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.where} has the tables of version {version}; this program knows version {SCHEMA_VERSION}.",
                hint="A newer Phireside wrote it: upgrade this one, or set PHIRESIDE_DATABASE_URL to another database.",
            )

    def rewrite(self) -> None:
        """Write SQLite's file anew, without free pages: versions before `secure_delete` left texts in them.

        A disk without room for a copy is logged and no error. Where it comes before a migration, it is done at the
        next start if the process dies.
        """
        if not self.is_sqlite:
            return
        try:
            with self._faults(), self._turnstile, closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute("VACUUM")
        except StoreError as error:  # e.g. the disk has no room for a copy
            log.warning("The database was not written anew: an old one may have deleted texts in free pages. %s", error)
        self.try_scrub()

    def _create_tables(self, connection: Connection) -> int:
        strangers = set(metadata.tables) & set(inspect(connection).get_table_names())
        if strangers:
            raise StoreError(
                f"{self.where} belongs to another program: it has its own {', '.join(sorted(strangers))}.",
                hint="Set PHIRESIDE_DATABASE_URL to a database of its own for Phireside.",
            )
        metadata.create_all(connection)
        connection.execute(facts_switch.insert().values(enabled=False))
        connection.execute(schema_version.insert().values(version=SCHEMA_VERSION))
        return SCHEMA_VERSION


def _add_memory_states(connection: Connection) -> None:
    memory_states.create(connection, checkfirst=False)


def _add_facts(connection: Connection) -> None:
    for table in (facts, facts_switch, conversation_facts, forgotten_facts):
        table.create(connection, checkfirst=False)
    connection.execute(facts_switch.insert().values(enabled=False))


# By the version that they begin with. Each is in one transaction with the new version's number.
_MIGRATIONS: dict[int, Callable[[Connection], None]] = {1: _add_memory_states, 2: _add_facts}


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(schema_version.name):
        return None
    return connection.scalar(select(func.coalesce(func.max(schema_version.c.version), 0)))


def _parse(url: str) -> URL:
    hint = "Use sqlite:////path/to/conversations.db or postgresql://user:password@host/name."
    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:  # the text of a URL may hold a password: it is not repeated
        raise StoreError("The address of the conversations is not a database URL.", hint=hint) from error
    if address.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(f"Conversations cannot be kept in {address.get_backend_name()!r}.", hint=hint)
    if address.drivername == "postgresql":
        return address.set(drivername="postgresql+psycopg")
    return address


def _create_file(address: URL) -> None:
    """Create the folder and an empty file that only its owner may read: what people say to their model is private."""
    if _in_memory(address) or str(address.database).startswith("file:"):
        return
    path = Path(str(address.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise StoreError(
            f"{path} cannot be created: {error}.", hint="Set PHIRESIDE_DATA_DIR to a folder that you may write to."
        ) from error


def _in_memory(address: URL) -> bool:
    return address.database in (None, "", ":memory:")


def _engine(address: URL, is_sqlite: bool) -> Engine:
    options: dict[str, Any] = {"pool_pre_ping": True}  # a server that was restarted meanwhile is no error
    if is_sqlite:
        options = {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}}
        if _in_memory(address):  # every connection would be a database of its own
            options |= {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
    try:
        engine = create_engine(address, hide_parameters=True, **options)
    except (ImportError, SQLAlchemyError, TypeError, ValueError) as error:  # ValueError: "?timeout=soon"
        raise StoreError(
            f"The database driver {address.drivername} cannot be used: {error}.",
            hint="Check what the address has behind a “?”. For PostgreSQL: pip install 'phireside[postgres]'.",
        ) from error
    if is_sqlite:
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions on its own, and too late: _begin_sqlite does
    switch_to_wal(connection, time.monotonic() + BUSY_SECONDS)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _explained(error: SQLAlchemyError | sqlite3.Error, where: str) -> StoreError:
    cause = error.orig if isinstance(error, DBAPIError) else error
    # PostgreSQL's full text has lines that repeat the values of the row; its primary message has none.
    reason = getattr(getattr(cause, "diag", None), "message_primary", None) or str(cause)
    what, hint = FAULTS.get(primary_code(cause), (f"{type(cause).__name__}: {' '.join(reason.split())}", _OTHER_HINT))
    return StoreError(f"The conversations in {where} cannot be used: {what}.", hint=hint)


_OTHER_HINT = "Check that the database is there and answers, then try again. What was saved before is safe."
