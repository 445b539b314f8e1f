"""The rows of documents and chunks: written, read, compared. Knows no model and no FAISS.

Every function works within the caller's transaction.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import numpy as np
from langchain_core.documents import Document

from phireside.errors import IndexDamagedError, KnowledgeError
from phireside.retrieval.database import expecting_sound
from phireside.retrieval.embedder import Vectors
from phireside.retrieval.filters import BUILT_IN
from phireside.retrieval.values import facts, from_json
from phireside.retrieval.vectors import REEMBED, checksum

_AT_ONCE = 500  # parameters of one query
_CHUNK = 'c.number, c.id, c.position, c.start, c."end", c.heading, c.page, c.lead, c.text, c.metadata'
_OWNER = "d.number, d.id, d.source, d.title, d.crc"
_WITH_DOCUMENT = f"SELECT {_CHUNK}, c.crc, {_OWNER} FROM chunks c LEFT JOIN documents d ON d.number = c.document"  # noqa: S608
_DAMAGED = "Remove this document and add it again, or bring back your last copy of the base."


@dataclass(frozen=True)
class DocumentInfo:
    """A document without its text.

    Attributes:
        id: stays the same as long as the source does.
        source: a file's path, a page's address, "upload:…" or "text:…".
        title: of the document, or its file's name.
        kind: what it was read as: "pdf", "md", …
        chunks: how many.
        added_at: when it was added or last changed, in UTC.
    """

    id: str
    source: str
    title: str
    kind: str
    chunks: int
    added_at: datetime


@dataclass(frozen=True)
class NewChunk:
    """A chunk to be written. `metadata` is JSON text; `lead` is embedded and searched before the text."""

    id: str
    text: str
    metadata: str = "{}"
    lead: str = ""
    position: int = 0
    start: int = 0
    end: int = 0
    heading: str = ""
    page: int | None = None
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hash", digest(f"{self.lead}\0{self.text}".encode()))

    @property
    def embedded(self) -> str:
        """What the vector is made of."""
        return self.lead + self.text

    def row(self, number: int) -> tuple[Any, ...]:
        """What is given out, in the order of the columns in `_CHUNK`."""
        place = (self.position, self.start, self.end, self.heading, self.page)
        return (number, self.id, *place, self.lead, self.text, self.metadata)


@dataclass(frozen=True)
class NewDocument:
    """A document to be written; see schema.py for `hash`, `recipe`, `size` and `modified`."""

    source: str
    title: str
    kind: str
    hash: str
    recipe: str
    size: int = -1
    modified: int = -1
    chunks: tuple[NewChunk, ...] = ()

    @property
    def id(self) -> str:
        """The same for the same source."""
        return digest(self.source.encode())[:16]


def digest(data: bytes) -> str:
    """32 hexadecimal digits."""
    return blake2b(data, digest_size=16).hexdigest()


def known_vectors(connection: sqlite3.Connection, hashes: Iterable[str]) -> dict[str, bytes]:
    """By hash, the vectors of those texts that the base has already."""
    sql = "SELECT c.hash, v.vector, v.chunk, v.crc FROM chunks c JOIN vectors v ON v.chunk = c.number WHERE c.hash IN "
    found = list(_in_parts(connection, sql, sorted(set(hashes))))
    with expecting_sound():
        return {key: vector for key, vector, number, crc in found if checksum(number, vector) == crc}


def put_chunks(connection: sqlite3.Connection, chunks: Sequence[tuple[NewChunk, bytes]]) -> None:
    """Write chunks of no document, in place of those with the same ids.

    Args:
        connection: in a writing transaction.
        chunks: of different ids, each with its vector.

    Raises:
        KnowledgeError: an id is that of a document's chunk.
    """
    sql = "SELECT id FROM chunks WHERE document IS NOT NULL AND id IN "
    if taken := list(_in_parts(connection, sql, [chunk.id for chunk, _ in chunks])):
        raise KnowledgeError(
            f"{taken[0][0]!r} is a part of a document and cannot be overwritten.",
            hint="Use another id, or change the document and add it again. Nothing was saved.",
        )
    delete_chunks(connection, [chunk.id for chunk, _ in chunks])
    _insert(connection, None, chunks)


def put_document(connection: sqlite3.Connection, new: NewDocument, vectors: Mapping[str, bytes]) -> str:
    """Write a document in place of the one from the same source; chunks that are in both stay as they are.

    Args:
        connection: in a writing transaction.
        new: the document.
        vectors: by hash, of all of its chunks.

    Returns:
        "added" or "changed".
    """
    old = connection.execute("SELECT number FROM documents WHERE source = ?", (new.source,)).fetchone()
    values = (new.title, new.kind, new.hash, new.recipe, new.size, new.modified, datetime.now(UTC).isoformat())
    if old is None:
        sql = "INSERT INTO documents (id, source, title, kind, hash, recipe, size, modified, added_at, crc) VALUES "
        number = connection.execute(sql + "(?, ?, ?, ?, ?, ?, ?, ?, ?, 0)", (new.id, new.source, *values)).lastrowid
    else:
        (number,) = old
        sql = "title = ?, kind = ?, hash = ?, recipe = ?, size = ?, modified = ?, added_at = ?"
        connection.execute(f"UPDATE documents SET {sql} WHERE number = ?", (*values, number))  # noqa: S608
    given = (number, new.id, new.source, new.title)
    connection.execute("UPDATE documents SET crc = ? WHERE number = ?", (_crc(given), number))
    there = dict(connection.execute("SELECT id, number FROM chunks WHERE document = ?", (number,)).fetchall())
    delete_chunks(connection, there.keys() - {chunk.id for chunk in new.chunks})
    for chunk in new.chunks:
        if chunk.id in there:
            _move(connection, there[chunk.id], chunk)
    fresh = [(chunk, vectors[chunk.hash]) for chunk in new.chunks if chunk.id not in there]
    _insert(connection, number, fresh)
    return "added" if old is None else "changed"


def _move(connection: sqlite3.Connection, number: int, chunk: NewChunk) -> None:
    """The same text at another place of its document."""
    row = chunk.row(number)
    connection.execute(
        'UPDATE chunks SET position = ?, start = ?, "end" = ?, heading = ?, page = ?, metadata = ?, crc = ? '
        "WHERE number = ? AND crc != ?",
        (*row[2:7], chunk.metadata, _crc(row), number, _crc(row)),
    )
    connection.execute("DELETE FROM facts WHERE chunk = ?", (number,))
    connection.executemany("INSERT INTO facts VALUES (?, ?, ?)", _facts(number, chunk.metadata, document=True))


def _insert(connection: sqlite3.Connection, document: int | None, chunks: Sequence[tuple[NewChunk, bytes]]) -> None:
    last = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'chunks'").fetchone()[0]
    rows = [(chunk.row(number), chunk.hash, vector) for number, (chunk, vector) in enumerate(chunks, last + 1)]
    connection.executemany(
        'INSERT INTO chunks (number, id, position, start, "end", heading, page, lead, text, metadata, crc, document, '
        "hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((*row, _crc(row), document, key) for row, key, _ in rows),
    )
    connection.executemany(
        "INSERT INTO vectors VALUES (?, ?, ?)", ((row[0], vector, checksum(row[0], vector)) for row, _, vector in rows)
    )
    known = (fact for row, _, _ in rows for fact in _facts(row[0], row[-1], document=document is not None))
    connection.executemany("INSERT INTO facts VALUES (?, ?, ?)", known)


def _facts(number: int, metadata: str, *, document: bool) -> Iterator[tuple[Any, ...]]:
    """What filters read; a document's own fields hide what the adder called the same."""
    if metadata == "{}":
        return
    for key, value in facts(from_json(metadata)):
        if not (document and key in BUILT_IN):
            yield number, key, value


def delete_chunks(connection: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Delete chunks by id; those that are not there are nothing to it."""
    connection.executemany("DELETE FROM chunks WHERE id = ?", ((each,) for each in ids))


def documents_by_id(connection: sqlite3.Connection, ids: Sequence[str]) -> list[Document]:
    """Chunks, in the order of the ids; those that are not there are left out.

    Raises:
        IndexDamagedError: one is not what was written.
    """
    found = {row[1]: row for row in _in_parts(connection, f"{_WITH_DOCUMENT} WHERE c.id IN ", list(dict.fromkeys(ids)))}
    return [_document(found[each]) for each in ids if each in found]


def chunks_of(connection: sqlite3.Connection, document: str) -> list[Document]:
    """All chunks of a document, in order."""
    sql = f"{_WITH_DOCUMENT} WHERE d.id = ? ORDER BY c.position"
    return [_document(row) for row in connection.execute(sql, (document,))]


def neighbours(connection: sqlite3.Connection, chunk: str, count: int) -> list[Document]:
    """A chunk with up to `count` before and after it in its document; none if there is no such chunk."""
    sql = f"{_WITH_DOCUMENT} JOIN chunks m ON m.id = ? WHERE c.number = m.number OR (c.document = m.document AND c.position BETWEEN m.position - ? AND m.position + ?) ORDER BY c.position"  # noqa: E501
    return [_document(row) for row in connection.execute(sql, (chunk, count, count))]


def vectors_of(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, Vectors]:
    """By id, the vectors of those chunks that are there, each of shape (size,).

    Raises:
        IndexDamagedError: one is not what was written.
    """
    sql = "SELECT c.id, v.vector, v.chunk, v.crc FROM chunks c JOIN vectors v ON v.chunk = c.number WHERE c.id IN "
    rows = list(_in_parts(connection, sql, list(dict.fromkeys(ids))))
    with expecting_sound():
        bad = [each for each, vector, number, crc in rows if checksum(number, vector) != crc]
    if bad:
        raise IndexDamagedError(f"The vector of {bad[0]!r} is not what was written.", hint=REEMBED)
    return {each: np.frombuffer(vector, "<f4").astype(np.float32) for each, vector, _, _ in rows}


def ids_of(connection: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, str]:
    """By number, the ids of chunks that an index of this transaction has found.

    Raises:
        IndexDamagedError: one is not there.
    """
    found = dict(_in_parts(connection, "SELECT number, id FROM chunks WHERE number IN ", numbers))
    if missing := set(numbers) - found.keys():
        raise IndexDamagedError(f"Chunk {min(missing)} is in an index and not in the base.", hint=_DAMAGED)
    return found


def infos(connection: sqlite3.Connection) -> list[DocumentInfo]:
    """All documents, by source.

    Raises:
        IndexDamagedError: a time is not what was written.
    """
    sql = (
        "SELECT d.id, d.source, d.title, d.kind, (SELECT count(*) FROM chunks c WHERE c.document = d.number), "
        "d.added_at FROM documents d ORDER BY d.source"
    )
    rows = connection.execute(sql).fetchall()
    with expecting_sound():
        return [
            DocumentInfo(name, source, title, kind, chunks, datetime.fromisoformat(added))
            for name, source, title, kind, chunks, added in rows
        ]


def _document(row: tuple[Any, ...]) -> Document:
    given, crc, owner = row[:10], row[10], row[11:]
    _, document, source, title, owner_crc = owner
    with expecting_sound():
        sound = _crc(given) == crc and (owner_crc is None or _crc(owner[:4]) == owner_crc)
    if not sound:
        raise IndexDamagedError(f"The text of {row[1]!r} is not what was written.", hint=_DAMAGED)
    _, chunk_id, position, start, end, heading, page, _, text, metadata = given
    own = from_json(metadata)
    if document is not None:
        own |= {"source": source, "title": title, "document": document, "position": position}
        own |= {"start": start, "end": end, "heading": heading, "page": page}
    return Document(id=chunk_id, page_content=text, metadata=own)


def _crc(row: tuple[Any, ...]) -> int:
    return zlib.crc32(json.dumps(row).encode())


def _in_parts(connection: sqlite3.Connection, sql: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Rows of a query that ends with IN, for any number of values."""
    for start in range(0, len(values), _AT_ONCE):
        part = values[start : start + _AT_ONCE]
        yield from connection.execute(f"{sql} ({', '.join('?' * len(part))})", part)
