"""The vectors of a base in FAISS: a copy in memory, and a file beside SQLite's that saves reading them all again.

SQLite has the vectors; everything here can be lost at any time. The copy is made of the file, mapped into memory, and
of what was added since. A search is exact up to `FLAT_LIMIT` vectors; the file of a larger base is a graph.

The file is used only if SQLite has its length and its checksum: a torn, altered or foreign one is as good as none.
Knows numbers and vectors, no texts.
"""

import logging
import sqlite3
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from phireside.errors import IndexDamagedError, KnowledgeError
from phireside.retrieval.database import Database, expecting_sound
from phireside.retrieval.embedder import Vectors
from phireside.retrieval.schema import INDEX_FILE, LOCK_FILE
from phireside.retrieval.segments import Copy, Numbers, Segment, empty_index, library, merged

log = logging.getLogger(__name__)

FLAT_LIMIT = 50_000  # vectors; up to here comparing with all of them is fast enough, and exact
WRITE_AFTER = 256  # changed vectors; and a quarter of all, but never more than FLAT_LIMIT
_DEAD_SHARE = 0.25  # of a graph, before it is built anew
_BLOCK = 10_000  # rows read at once

REEMBED = "Call reindex(), which embeds every chunk anew (`phireside index --base NAME --reindex`)."


class VectorIndex:
    """The copy of one base's vectors, for many threads, and the file.

    Args:
        database: of the base.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._file = database.folder / INDEX_FILE
        self._lock = threading.Lock()
        self._copy: Copy | None = None

    def current(self, connection: sqlite3.Connection) -> Copy:
        """The vectors as a reading transaction sees them: of the last copy, and what was changed since.

        Raises:
            IndexDamagedError: what SQLite has is not what was written.
        """
        with expecting_sound(), self._lock:
            sql = "SELECT generation, trimmed, total, (SELECT count(*) FROM removed) FROM base"
            generation, trimmed, total, lost = connection.execute(sql).fetchone()
            known = self._copy
            if known is not None and known.generation > generation:  # a transaction that is older than the copy
                return _complete(_advanced(Copy(0, 0, ()), connection, generation), total)
            if known is None or known.generation < trimmed:
                known = self._from_file(connection) or Copy(0, 0, ())
            copy = _advanced(known, connection, generation)
            if copy.size != total and any(segment.file for segment in copy.segments):
                copy = _advanced(Copy(0, 0, ()), connection, generation)
            self._copy = _complete(replace(copy, lost=lost), total)
            return self._copy

    def write_if_due(self, *, graph: bool) -> None:
        """Write the file if so much has changed that reading it back would save something.

        What fails is a line in the log: the file is a cache.

        Args:
            graph: also where a graph must be built, which takes minutes for a million vectors.
        """
        copy = self._copy
        if copy is None or copy.changed <= max(WRITE_AFTER, min(copy.size // 4, FLAT_LIMIT)):
            return
        if copy.size > FLAT_LIMIT and not graph:
            return
        try:
            with FileLock(self._database.folder / LOCK_FILE, timeout=0):
                self._write()
            self.forget()
            with self._database.reading() as connection:
                self.current(connection)  # maps the file, which goes on working after `drop_removed`
        except Timeout:
            log.info("Another process is writing %s.", self._file)
        except (OSError, RuntimeError, MemoryError, KnowledgeError) as error:  # RuntimeError: FAISS
            log.warning("%s could not be written, and is not needed: %s", self._file, error)

    def drop_removed(self) -> None:
        """Delete a file that may have removed vectors: text can be guessed from them. One of a graph stays until it is
        written anew. What is mapped into memory goes on working."""
        with self._database.writing() as connection:
            if connection.execute("SELECT total FROM base").fetchone()[0] > FLAT_LIMIT:
                return
            connection.execute("DELETE FROM snapshot")
            with suppress(OSError):  # Windows does not delete what is mapped: it is not believed any more
                self._file.unlink(missing_ok=True)

    def forget(self) -> None:
        """Free the memory; the next search reads the file."""
        with self._lock:
            self._copy = None

    def _from_file(self, connection: sqlite3.Connection) -> Copy | None:
        faiss = library()
        mapped, generation = _mapped(self._file, connection)
        if mapped is None:
            return None
        try:
            whole = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(mapped), mapped.size))
        except RuntimeError as error:  # of another version of FAISS
            log.warning("%s is built anew: %s", self._file, error)
            return None
        signed = faiss.vector_to_array(whole.id_map)
        index = faiss.downcast_index(whole.index)
        numbers, alive = np.abs(signed), signed > 0 if (signed < 0).any() else None
        segment = Segment(index, numbers, alive, file=True, owners=(whole, mapped))
        return Copy(generation, int(numbers[-1]) if len(numbers) else 0, (segment,))

    def _write(self) -> None:
        faiss = library()
        for leftover in self._database.folder.glob(f"{INDEX_FILE}.*.part"):  # of a process that was killed
            leftover.unlink()
        with self._database.reading() as connection:
            generation = connection.execute("SELECT generation FROM base").fetchone()[0]
            index = self._built(connection)
        part = self._file.with_name(f"{INDEX_FILE}.{generation}.part")
        try:
            part.touch(mode=0o600)  # as the base itself: texts can be guessed from vectors
            with part.open("wb") as file:
                writer = _Summing(file)
                faiss.write_index(index, faiss.PyCallbackIOWriter(writer.write))
            with self._database.writing() as connection:
                if connection.execute("SELECT trimmed FROM base").fetchone()[0] <= generation:
                    part.replace(self._file)
                    _record(connection, generation, writer)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _built(self, connection: sqlite3.Connection) -> Any:
        """What the file is to have: a flat index of all, or the last graph and what was added since."""
        faiss = library()
        total = connection.execute("SELECT total FROM base").fetchone()[0]
        whole = self._grown(connection, total) if total > FLAT_LIMIT else None
        last = 0 if whole is None else int(abs(faiss.vector_to_array(whole.id_map)[-1]))
        for numbers, rows in _blocks(connection, last):
            if whole is None:
                whole = faiss.IndexIDMap(empty_index(rows.shape[1], graph=total > FLAT_LIMIT))
            whole.add_with_ids(rows, numbers)
        return whole if whole is not None else faiss.IndexIDMap(faiss.IndexFlatIP(1))

    def _grown(self, connection: sqlite3.Connection, total: int) -> Any:
        """The graph of the file to add to, its dead ones marked; None if it is not there or has too many of them."""
        faiss = library()
        mapped, generation = _mapped(self._file, connection)
        if mapped is None:
            return None
        whole = faiss.deserialize_index(np.asarray(mapped))
        signed = faiss.vector_to_array(whole.id_map)
        signed[np.isin(signed, _removed(connection, generation))] *= -1
        graph = isinstance(faiss.downcast_index(whole.index), faiss.IndexHNSW)
        if not graph or (signed < 0).sum() > _DEAD_SHARE * total:
            return None
        faiss.copy_array_to_vector(signed, whole.id_map)
        return whole


class _Summing:
    """A file that is written, with its length and checksum."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.bytes, self.crc = 0, 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.bytes += len(data)
        self.crc = zlib.crc32(data, self.crc)
        return len(data)


def checksum(number: int, vector: bytes) -> int:
    """Of a stored vector and the chunk that it belongs to."""
    return zlib.crc32(vector, number)


def _record(connection: sqlite3.Connection, generation: int, written: _Summing) -> None:
    """Say that the file is this one; what it lacks begins after its generation."""
    connection.execute("DELETE FROM snapshot")
    connection.execute("INSERT INTO snapshot VALUES (?, ?, ?)", (generation, written.bytes, written.crc))
    connection.execute("DELETE FROM removed WHERE generation <= ?", (generation,))
    connection.execute("UPDATE base SET trimmed = ?", (generation,))


def _mapped(path: Path, connection: sqlite3.Connection) -> tuple[Any, int]:
    """The bytes of the file that belongs to this base, and its generation; None if there is none, or another."""
    row = connection.execute("SELECT generation, bytes, crc FROM snapshot").fetchone()
    if row is None:
        return None, 0
    try:
        mapped = np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError):  # not there; empty
        return None, 0
    if (mapped.size, zlib.crc32(mapped.data)) != row[1:]:
        log.warning("%s is not the one that was written: the vectors are read from the database.", path)
        return None, 0
    return mapped, row[0]


def _advanced(copy: Copy, connection: sqlite3.Connection, generation: int) -> Copy:
    """A copy with what was added and removed after its own generation."""
    if copy.generation == generation:
        return copy
    segments = list(copy.segments)
    if removed := _removed(connection, copy.generation) if segments else ():
        segments = [segment.without(np.array(removed, np.int64)) for segment in segments]
    fresh, last = None, copy.last
    for numbers, rows in _blocks(connection, copy.last):
        index = empty_index(rows.shape[1], graph=False) if fresh is None else fresh.index
        index.add(rows)
        fresh = Segment(index, numbers if fresh is None else np.concatenate([fresh.numbers, numbers]))
        last = int(numbers[-1])
    if fresh is not None:
        while segments and not segments[-1].file and segments[-1].size <= len(fresh.numbers):
            fresh = merged(segments.pop(), fresh)
        segments.append(fresh)
    return Copy(generation, last, tuple(segments))


def _complete(copy: Copy, total: int) -> Copy:
    if copy.size != total:
        raise IndexDamagedError(f"The base has {copy.size} vectors and should have {total}.", hint=REEMBED)
    return copy


def _removed(connection: sqlite3.Connection, generation: int) -> list[int]:
    found = connection.execute("SELECT number FROM removed WHERE generation > ?", (generation,))
    return [number for (number,) in found]


def _blocks(connection: sqlite3.Connection, last: int) -> Iterator[tuple[Numbers, Vectors]]:
    """Numbers above `last` and their vectors, some thousands at a time."""
    cursor = connection.execute("SELECT chunk, vector, crc FROM vectors WHERE chunk > ? ORDER BY chunk", (last,))
    while rows := cursor.fetchmany(_BLOCK):
        sizes = {len(vector) for _, vector, _ in rows}
        if len(sizes) > 1 or any(checksum(number, vector) != crc for number, vector, crc in rows):
            raise IndexDamagedError("Vectors in the base are not what was written.", hint=REEMBED)
        matrix = np.frombuffer(b"".join(vector for _, vector, _ in rows), "<f4").reshape(len(rows), -1)
        yield np.array([number for number, _, _ in rows], np.int64), matrix.astype(np.float32, copy=False)
