"""Chunks in one folder, their words and their vectors: a LangChain `VectorStore` over SQLite and FAISS.

SQLite is the truth; what FAISS has is a copy. Two stages of a search are here, `dense` and `keyword`; what is made of
them is in search.py. Many threads and processes may use one folder at once. Knows no files and no language model.
"""

import builtins
import logging
import shutil
import sqlite3
import tempfile
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from phireside.errors import IndexDamagedError, KnowledgeError
from phireside.retrieval import documents as rows
from phireside.retrieval import filters, keywords
from phireside.retrieval.database import DAMAGED, Database
from phireside.retrieval.documents import NewChunk
from phireside.retrieval.embedder import Embedder, Vectors, as_bytes, normalized
from phireside.retrieval.filters import Where
from phireside.retrieval.fusion import Ranking
from phireside.retrieval.reindexing import Guard
from phireside.retrieval.values import LARGEST, to_json
from phireside.retrieval.vectors import VectorIndex
from phireside.retrieval.words import mended
from phireside.text import clean_text

_ONE_VECTOR = "Give one finite vector, as the embedding model does."

log = logging.getLogger(__name__)


class ChunkStore(VectorStore):
    """The chunks in a folder, which is created when it is missing. Close it when done; use one for all threads.

    Args:
        path: the folder.
        embeddings: the model, any of LangChain's; it is first used when something is added or searched.

    Attributes:
        path: the folder.

    Raises:
        KnowledgeError: here and in every method: the folder or file cannot be used, what is there was made with another
            model, or the model failed. Nothing that was there is lost; the hint says what to do.
        IndexDamagedError: the same, because what is stored is not what was written.
    """

    def __init__(self, path: Path, embeddings: Embeddings) -> None:
        self.path = Path(path).absolute()
        self._database = Database(self.path)
        self._embedder = Embedder(embeddings)
        self._guard = Guard(self._database, self._embedder)
        self._index = VectorIndex(self._database)
        self._sound_words = False
        self._finish: Callable[[], Any] = weakref.finalize(self, self._database.close)

    @classmethod
    def from_texts(
        cls,
        texts: builtins.list[str],
        embedding: Embeddings,
        metadatas: builtins.list[dict[str, Any]] | None = None,
        *,
        ids: builtins.list[str] | None = None,
        path: Path | None = None,
        **kwargs: Any,
    ) -> Self:
        """A base with these texts.

        Args:
            texts, metadatas, ids: as for `add_texts`.
            embedding: the model.
            path: its folder; None = one that is deleted when the base is closed.
            **kwargs: as for the class.
        """
        folder = path or Path(tempfile.mkdtemp(prefix="phireside-base-"))
        base = cls(folder, embedding, **kwargs)
        if path is None:
            base._finish = weakref.finalize(base, _discard, base._database)
        base.add_texts(texts, metadatas, ids=ids)
        return base

    @property
    def embeddings(self) -> Embeddings:
        """The model."""
        return self._embedder.embeddings

    def close(self) -> None:
        """Close the file. A second call does nothing; any other method then raises KnowledgeError."""
        self._index.forget()
        self._finish()

    def write_index(self) -> None:
        """Write FAISS's file, if much has changed since. Adding documents does it; after `add_texts` a first search
        would, but for the graph of more than 50,000 vectors, which takes a while: until then those are compared one by
        one."""
        with self._database.reading() as connection:
            self._index.current(connection)
        self._index.write_if_due(graph=True)

    def dense(self, vector: Vectors, k: int, where: Where | None = None) -> Ranking:
        """Ids and cosines of the chunks nearest to a vector, best first; equal ones in the order of their ids.

        Args:
            vector: of any length but 0, shape (size,); e.g. `embeddings.embed_query(question)`.
            k: most chunks.
            where: which chunks may be found; see `phireside.retrieval.filters`.
        """
        query = self._comparable(vector)
        with self._database.reading() as connection:
            ranking = self._nearest(connection, query, k, where)
        self._index.write_if_due(graph=False)
        return ranking

    def keyword(self, query: str, k: int, where: Where | None = None) -> Ranking:
        """Ids and BM25 scores of the chunks with the query's words, best first; higher is better.

        FTS5's BM25 (k1 = 1.2, b = 0.75) over title, heading and text, of English stems; any of the words will do, and
        those in title or heading count three times. See `keywords`.

        Args:
            query: any text; nothing in it is an operator.
            k: most chunks.
            where: as for `dense`.
        """
        match, k = keywords.match(clean_text(query)), min(k, LARGEST)
        if not match or k < 1:
            return []
        self._sound_words = self._sound_words or mended(self._database)
        sql, values = ("", []) if not where else filters.numbers(where)
        among = f"AND rowid IN ({sql})" if where else ""
        with self._database.reading() as connection:
            hits = connection.execute(
                f"SELECT rowid, {keywords.BM25} AS score FROM words WHERE words MATCH ? {among} "  # noqa: S608
                "ORDER BY score, rowid LIMIT ?",
                (match, *values, k),
            ).fetchall()
            ids = rows.ids_of(connection, [number for number, _ in hits])
        return sorted(((ids[number], -rank) for number, rank in hits), key=lambda hit: (-hit[1], hit[0]))

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """The vectors of chunks, of length 1, in the order of the ids; shape (len(ids), size).

        Raises:
            KnowledgeError: there is no chunk with one of these ids.
        """
        wanted = [clean_text(each) for each in ids]
        with self._database.reading() as connection:
            found = rows.vectors_of(connection, wanted)
        if missing := [each for each in wanted if each not in found]:
            raise KnowledgeError(f"There is no chunk {missing[0]!r}.", hint="It may have been removed meanwhile.")
        return np.stack([found[each] for each in wanted]) if wanted else np.zeros((0, 0), np.float32)

    def neighbours(self, chunk: str, n: int = 1) -> builtins.list[Document]:
        """A chunk (its id) with up to n before and n after it in its document, in order."""
        with self._database.reading() as connection:
            return rows.neighbours(connection, clean_text(chunk), min(n, LARGEST // 2))

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: builtins.list[dict[str, Any]] | None = None,
        *,
        ids: builtins.list[str] | None = None,
        **kwargs: Any,
    ) -> builtins.list[str]:
        """Add texts that belong to no document, as they are; all of them or, after an error, none.

        Args:
            texts: to be searched.
            metadatas: one for each.
            ids: one for each; a text with the same id is replaced. None, or None for one of them = a new id.
            **kwargs: none.

        Returns:
            The ids.
        """
        _refuse(kwargs)
        chunks = _chunks(list(texts), metadatas, ids)
        hashes = {chunk.hash: chunk.embedded for chunk in chunks}
        while True:
            checked = self._guard.check()
            with self._database.reading() as connection:
                known = rows.known_vectors(connection, hashes) if checked else {}
            missing = [each for each in hashes if each not in known]
            fresh = self._embedder.all_passages([hashes[each] for each in missing])
            made = known | as_bytes(missing, fresh)
            if self._put(chunks, [made[chunk.hash] for chunk in chunks], checked, fresh):
                return [chunk.id for chunk in chunks]

    def add_embeddings(
        self,
        text_embeddings: Iterable[tuple[str, Sequence[float]]],
        metadatas: builtins.list[dict[str, Any]] | None = None,
        *,
        ids: builtins.list[str] | None = None,
    ) -> builtins.list[str]:
        """`add_texts` with vectors that are there already; of this base's model, for it cannot be checked.

        Args:
            text_embeddings: each text with its vector.
            metadatas, ids: as for `add_texts`.
        """
        pairs = list(text_embeddings)
        chunks = _chunks([text for text, _ in pairs], metadatas, ids)
        vectors = self._embedder.checked([vector for _, vector in pairs], len(pairs))
        data = [row.astype("<f4").tobytes() for row in vectors]
        while not self._put(chunks, data, self._guard.check(), vectors):
            pass
        return [chunk.id for chunk in chunks]

    def delete(self, ids: builtins.list[str] | None = None, **kwargs: Any) -> bool:
        """Delete chunks; those that are not there are nothing to it. None = everything, documents too."""
        _refuse(kwargs)
        with self._database.writing() as connection:
            if ids is None:
                connection.execute("DELETE FROM documents")
                connection.execute("DELETE FROM chunks")
            else:
                rows.delete_chunks(connection, map(clean_text, ids))
        self._scrub()
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> builtins.list[Document]:
        """Chunks, in the order of the ids; those that are not there are left out."""
        with self._database.reading() as connection:
            return rows.documents_by_id(connection, [clean_text(each) for each in ids])

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> builtins.list[Document]:
        """The chunks nearest to a question. `where=` says which may be found."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, *, where: Where | None = None, **kwargs: Any
    ) -> builtins.list[tuple[Document, float]]:
        """The same, with cosines: 1 is best."""
        return self._found(self._question(query), k, where, kwargs)

    def similarity_search_by_vector(
        self, embedding: builtins.list[float], k: int = 4, *, where: Where | None = None, **kwargs: Any
    ) -> builtins.list[Document]:
        """The chunks nearest to a vector."""
        return [document for document, _ in self._found(embedding, k, where, kwargs)]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        where: Where | None = None,
        **kwargs: Any,
    ) -> builtins.list[Document]:
        """Chunks that are near to a question and far from each other; see LangChain's."""
        return self._diverse(self._question(query), k, fetch_k, lambda_mult, where, kwargs)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: builtins.list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        where: Where | None = None,
        **kwargs: Any,
    ) -> builtins.list[Document]:
        """The same, for a vector."""
        return self._diverse(self._comparable(embedding), k, fetch_k, lambda_mult, where, kwargs)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: min(1.0, max(0.0, cosine))

    def _question(self, query: str) -> Vectors:
        self._guard.check()  # before a question is embedded by the wrong model
        return self._embedder.query(query)

    def _comparable(self, vector: Vectors | Sequence[float]) -> Vectors:
        self._guard.check()
        try:
            with np.errstate(over="ignore"):  # too large for float32: infinite, which is told below
                query = np.asarray(vector, dtype=np.float32)
        except (TypeError, ValueError, OverflowError) as error:
            raise KnowledgeError(f"The vector is no list of numbers: {error}.", hint=_ONE_VECTOR) from error
        if query.ndim != 1 or not np.isfinite(query).all():
            raise KnowledgeError(f"The vector has shape {query.shape}, or NaN in it.", hint=_ONE_VECTOR)
        return normalized(query)

    def _nearest(self, connection: sqlite3.Connection, query: Vectors, k: int, where: Where | None) -> Ranking:
        copy = self._index.current(connection)
        allowed = _allowed(connection, where)
        if k < 1 or not copy.size or (allowed is not None and not len(allowed)):
            return []
        if copy.dimensions != len(query):
            raise KnowledgeError(
                f"The vector has {len(query)} numbers; those of the base have {copy.dimensions}.",
                hint="Use the base's own embedding model.",
            )
        numbers, scores = copy.nearest(query, k, allowed)
        ids = rows.ids_of(connection, numbers.tolist())
        found = [(ids[number], score) for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)]
        return sorted(found, key=lambda hit: (-hit[1], hit[0]))[:k]

    def _found(
        self, vector: Vectors | Sequence[float], k: int, where: Where | None, others: Mapping[str, Any]
    ) -> builtins.list[tuple[Document, float]]:
        _refuse(others)
        query = self._comparable(vector)
        with self._database.reading() as connection:
            ranking = self._nearest(connection, query, k, where)
            found = rows.documents_by_id(connection, [each for each, _ in ranking])
        if len(found) < len(ranking):  # within one transaction nobody can have removed one
            raise IndexDamagedError(
                f"{len(ranking) - len(found)} of {len(ranking)} chunks cannot be read.", hint=DAMAGED
            )
        self._index.write_if_due(graph=False)
        return [(each, score) for each, (_, score) in zip(found, ranking, strict=True)]

    def _diverse(
        self, vector: Vectors, k: int, fetch_k: int, balance: float, where: Where | None, others: Mapping[str, Any]
    ) -> builtins.list[Document]:
        _refuse(others)
        ids = [found for found, _ in self.dense(vector, fetch_k, where)]
        chosen = maximal_marginal_relevance(vector, list(self.vectors(ids)), balance, k)
        return self.get_by_ids([ids[place] for place in chosen])

    def _put(self, chunks: Sequence[NewChunk], vectors: Sequence[bytes], checked: int, fresh: Vectors) -> bool:
        """Write them all; False if meanwhile another model is in force. Of two with one id the later one counts."""
        if not chunks:
            return True
        last = {chunk.id: (chunk, vector) for chunk, vector in zip(chunks, vectors, strict=True)}
        with self._database.writing() as connection:
            if not self._guard.settle(connection, checked, fresh):
                return False
            rows.put_chunks(connection, list(last.values()))
        self._scrub()
        return True

    def _scrub(self) -> None:
        """What was removed leaves the files too; what fails is a line in the log, for it is removed."""
        try:
            if self._database.scrub():
                self._index.drop_removed()
        except KnowledgeError as error:
            log.warning("Removed text may still be in free parts of the file. %s", error)


def _allowed(connection: sqlite3.Connection, where: Where | None) -> Any:
    if not where:
        return None
    sql, values = filters.numbers(where)
    return np.array([number for (number,) in connection.execute(sql, values)], np.int64)


def _chunks(
    texts: Sequence[str], metadatas: Sequence[Mapping[str, Any]] | None, ids: Sequence[str | None] | None
) -> list[NewChunk]:
    given: Sequence[Mapping[str, Any]] = metadatas or [{}] * len(texts)
    names: Sequence[str | None] = ids or [None] * len(texts)
    if not len(texts) == len(given) == len(names):
        raise KnowledgeError(
            f"There are {len(texts)} texts, {len(given)} metadata and {len(names)} ids.", hint="Give one for each text."
        )
    if bad := [each for each in (*texts, *(name or "" for name in names)) if not isinstance(each, str)]:
        raise KnowledgeError(f"{bad[0]!r:.40} is no text.", hint="Texts and ids are texts; str(…) makes one.")
    return [
        NewChunk(clean_text(name or uuid.uuid4().hex), clean_text(text), to_json(metadata or {}))
        for name, text, metadata in zip(names, texts, given, strict=True)
    ]


def _refuse(others: Mapping[str, Any]) -> None:
    """A filter under another name would be passed over, and find what it should not."""
    if others:
        raise KnowledgeError(f"{next(iter(others))!r} is not known here.", hint="A filter is given as where={…}.")


def _discard(database: Database) -> None:
    database.close()
    shutil.rmtree(database.folder, ignore_errors=True)
