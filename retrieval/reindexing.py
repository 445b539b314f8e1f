"""Which embedding model a base is made with, and changing it. Knows no documents.

Vectors of two models cannot be compared, and a wrong one raises no error by itself. So a base keeps its model's
identity, and its vector for a text that is always the same. A model that states that identity, or gives that vector, is
the same.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from phireside.errors import IndexDamagedError, KnowledgeError
from phireside.retrieval.database import Database, expecting_sound
from phireside.retrieval.embedder import Embedder, Vectors
from phireside.retrieval.vectors import REEMBED, checksum

Progress = Callable[[int, int, str], None]  # done, of how many, at what

BATCH = 256  # chunks that are embedded at once


@dataclass(frozen=True)
class Model:
    """A row of `models`."""

    number: int
    name: str
    size: int
    probe: Vectors

    def is_made_by(self, embedder: Embedder) -> bool:
        """Whether the vectors of the two can be compared."""
        return bool(embedder.identity and embedder.identity == self.name) or embedder.is_probe(self.probe)


class Guard:
    """Lets only the base's own model add to it and ask it.

    Args:
        database: of the base.
        embedder: the model.
    """

    def __init__(self, database: Database, embedder: Embedder) -> None:
        self._database, self._embedder = database, embedder
        self._accepted = 0

    def check(self) -> int:
        """The number of the model in force; 0 if the base has no vectors, so that any model will do.

        Raises:
            KnowledgeError: the base was made with another model.
            IndexDamagedError: there are vectors, and it is not known whose they are.
        """
        with self._database.reading() as connection:
            total, model = _total(connection), _model(connection, "current")
        if not total:
            _ = self._embedder.probe  # made before a transaction needs it
            return 0
        if model is None:
            raise IndexDamagedError(
                f"{self._database.folder.name} does not say which embedding model its vectors are of.", hint=REEMBED
            )
        if model.number != self._accepted and not model.is_made_by(self._embedder):
            other = len(self._embedder.probe)
            self._embedder.forget_probe()
            raise KnowledgeError(
                f"{self._database.folder.name} was made with the embedding model {model.name} ({model.size} numbers a "
                f"vector); {self._embedder.name} ({other} numbers) is another one.",
                hint=f"Open it with {model.name}, or call reindex(), which embeds every chunk anew "
                "(`phireside index --base NAME --reindex`).",
            )
        self._accepted = model.number
        return model.number

    def settle(self, connection: sqlite3.Connection, checked: int, vectors: Vectors) -> bool:
        """Within a writing transaction: whether the model that was checked is in force; if there was none, it is now.

        Raises:
            KnowledgeError: the vectors to be written are not as long as the base's.
        """
        if not _total(connection) and not checked:
            _put(connection, "current", self._embedder)
        elif (model := _model(connection, "current")) is None or model.number != checked:
            return False
        model = _model(connection, "current")
        if model is not None and vectors.size:
            self._embedder.expect(vectors, model.size)
        return True


def reindex(database: Database, embedder: Embedder, progress: Progress | None = None) -> int:
    """Embed every chunk anew and put the model in force. Until the end the old vectors are; a kill loses a batch.

    Args:
        database: of the base.
        embedder: the model to be in force.
        progress: told how many chunks are done.

    Returns:
        How many chunks were embedded. Of two that do it at once with one model, each does a part or all of the work.

    Raises:
        KnowledgeError: somebody else has begun to change to another model.
    """
    model, done = _prepare(database, embedder), 0
    while True:
        with database.reading() as connection:
            rows, left = _unembedded(connection)
        if not rows:
            if _finish(database, model):
                return done
            continue
        vectors = embedder.passages([text for _, text in rows])
        embedder.expect(vectors, len(embedder.probe))
        with database.writing() as connection:
            if not _is_next(connection, model):
                return done
            _keep(connection, [number for number, _ in rows], vectors)
        done += len(rows)
        if progress is not None:
            progress(done, done + left - len(rows), embedder.name)


def _prepare(database: Database, embedder: Embedder) -> int:
    """The number of the model to be in force. What an earlier, killed run with it has done stays."""
    probe = embedder.probe
    with database.writing() as connection:
        begun = _model(connection, "next")
        if begun is not None and embedder.is_probe(begun.probe) and begun.size == len(probe):
            return begun.number
        connection.execute("DELETE FROM pending")
        return _put(connection, "next", embedder)


def _is_next(connection: sqlite3.Connection, model: int) -> bool:
    """Whether the base is still being changed to this model; False if somebody else was done with it sooner.

    Raises:
        KnowledgeError: it is being changed to another one; what is pending is of that.
    """
    row = connection.execute("SELECT role FROM models WHERE number = ?", (model,)).fetchone()
    if row is None:
        raise KnowledgeError(
            "Another program has begun to change the base to another embedding model.",
            hint="Wait until it is done, then open the base with the model that you want.",
        )
    return bool(row[0] == "next")


def _unembedded(connection: sqlite3.Connection) -> tuple[list[tuple[int, str]], int]:
    """Numbers and texts of the next batch, and how many chunks are left with it."""
    missing = "FROM chunks c WHERE NOT EXISTS (SELECT 1 FROM pending p WHERE p.chunk = c.number)"
    left = connection.execute(f"SELECT count(*) {missing}").fetchone()[0]
    rows = connection.execute(f"SELECT number, lead, text {missing} ORDER BY number LIMIT ?", (BATCH,))
    return [(number, lead + text) for number, lead, text in rows], left


def _keep(connection: sqlite3.Connection, numbers: list[int], vectors: Vectors) -> None:
    for number, vector in zip(numbers, vectors, strict=True):
        data = vector.astype("<f4").tobytes()
        connection.execute(
            # It may have been removed meanwhile.
            "INSERT OR IGNORE INTO pending SELECT number, ?, ? FROM chunks WHERE number = ?",
            (data, checksum(number, data), number),
        )


def _finish(database: Database, model: int) -> bool:
    """Put the new vectors in the place of the old ones; False if a chunk was added meanwhile."""
    with database.writing() as connection:
        if not _is_next(connection, model):
            return True
        if _unembedded(connection)[1]:
            return False
        connection.execute("DELETE FROM vectors")
        connection.execute("INSERT INTO vectors SELECT chunk, vector, crc FROM pending ORDER BY chunk")
        connection.execute("DELETE FROM pending")
        connection.execute("DELETE FROM models WHERE role = 'current'")
        connection.execute("UPDATE models SET role = 'current' WHERE role = 'next'")
        # Old numbers have new vectors: no copy and no file is of use any more.
        connection.execute("DELETE FROM snapshot")
        connection.execute("DELETE FROM removed")
        connection.execute("UPDATE base SET trimmed = generation")
    return True


def _model(connection: sqlite3.Connection, role: str) -> Model | None:
    row = connection.execute("SELECT number, name, size, probe FROM models WHERE role = ?", (role,)).fetchone()
    with expecting_sound():
        if row is None:
            return None
        number, name, size, probe = row
        return Model(number, name, size, np.frombuffer(probe, "<f4").astype(np.float32))


def _put(connection: sqlite3.Connection, role: str, embedder: Embedder) -> int:
    connection.execute("DELETE FROM models WHERE role = ?", (role,))
    row = (role, embedder.name, len(embedder.probe), embedder.probe.astype("<f4").tobytes())
    made = connection.execute("INSERT INTO models (role, name, size, probe) VALUES (?, ?, ?, ?)", row)
    return int(made.lastrowid or 0)


def _total(connection: sqlite3.Connection) -> int:
    total: int = connection.execute("SELECT total FROM base").fetchone()[0]
    return total
