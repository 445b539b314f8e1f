"""Row 11: after any sequence of adding, overwriting, deleting and failing, the base has what a dictionary would have.

Texts, words, vectors in SQLite and vectors in FAISS are always the same set, and a search finds what comparing with
everything finds; the process that searches is another one than the one that wrote, now and then.
"""

import math
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hashed import HashedEmbeddings
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from phireside.errors import KnowledgeError
from phireside.retrieval import KnowledgeBase
from phireside.retrieval import vectors as vectors_module

IDS = st.sampled_from(["a", "b", "c", "d", "e", "'; DROP TABLE chunks; --", "é", "e\u0301"])
TEXTS = st.sampled_from(
    ["red fox", "blue fox", "red", "green whale sings", "whale", "fox fox fox", "", "the red whale"]
)
METADATA = st.dictionaries(st.sampled_from(["n", "x"]), st.sampled_from([1, 2, "1", None, True]), max_size=2)
SIZE = 6


class Faulty(HashedEmbeddings):
    """Answers wrongly in a way of one's choice."""

    way = ""

    def embed_documents(self, texts: Any) -> list[list[float]]:
        found = super().embed_documents(texts)
        if self.way == "raises":
            raise ConnectionError("no embeddings today")
        if self.way == "nan":
            found[-1][0] = math.nan
        elif self.way == "infinite":
            found[0][-1] = 1e300
        elif self.way == "long":
            found = [[*each, 1.0] for each in found]
        elif self.way == "ragged":
            found[-1] = found[-1][:-1]
        elif self.way == "few":
            found.pop()
        elif self.way == "words":
            found[0][0] = "one"  # type: ignore[call-overload]
        return found


WAYS = ["raises", "nan", "infinite", "long", "ragged", "few", "words"]


class Base(RuleBasedStateMachine):
    """The base, and a dictionary of id: (text, metadata) that it has to agree with."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.embeddings = Faulty(SIZE)
        self.open()
        self.model: dict[str, tuple[str, dict[str, Any]]] = {}
        self.documents: dict[str, str] = {}

    def open(self) -> None:
        self.base = KnowledgeBase(Path(self.folder.name, "base"), self.embeddings)

    @rule(entries=st.lists(st.tuples(IDS, TEXTS, METADATA), max_size=4))
    def add(self, entries: list[tuple[str, str, dict[str, Any]]]) -> None:
        ids = [each[0] for each in entries]
        texts, metadatas = [each[1] for each in entries], [each[2] for each in entries]
        assert self.base.add_texts(texts, metadatas, ids=ids) == ids
        self.model |= {key: (text, metadata) for key, text, metadata in entries}

    @rule(entries=st.lists(st.tuples(IDS, TEXTS), min_size=1, max_size=3), way=st.sampled_from(WAYS), n=st.integers())
    def add_and_fail(self, entries: list[tuple[str, str]], way: str, n: int) -> None:
        if way in ("long", "ragged") and not self.ids():
            way = "raises"  # an empty base takes vectors of any length
        self.embeddings.way = way
        try:
            with pytest.raises(KnowledgeError):
                self.base.add_texts([f"{text} {n}" for _, text in entries], ids=[key for key, _ in entries])
        finally:
            self.embeddings.way = ""

    @rule(ids=st.lists(st.one_of(IDS, st.just("missing")), max_size=3))
    def delete(self, ids: list[str]) -> None:
        self.base.delete(ids)
        for each in ids:
            self.model.pop(each, None)

    @rule(source=st.sampled_from(["s", "t"]), text=st.sampled_from(["One fox. Two foxes.", "A whale.", "One fox."]))
    def add_text(self, source: str, text: str) -> None:
        self.base.add_text(text, source=source)
        self.documents[source] = text

    @rule(source=st.sampled_from(["s", "t", "u"]))
    def remove(self, source: str) -> None:
        assert self.base.remove(source) == (self.documents.pop(source, None) is not None)

    @precondition(lambda self: self.documents)
    @rule()
    def overwrite_a_part_of_a_document(self) -> None:
        part = self.base.chunks(self.base.documents()[0].id)[0]
        with pytest.raises(KnowledgeError, match="part of a document"):
            self.base.add_texts(["new", "text"], ids=["a", str(part.id)])

    @rule()
    def reopen(self) -> None:
        self.base.close()
        self.open()

    @rule()
    def lose_the_index(self) -> None:
        Path(self.folder.name, "base", "index.faiss").unlink(missing_ok=True)
        self.reopen()

    @rule()
    def reindex(self) -> None:
        self.base.reindex()

    @rule(query=TEXTS, k=st.integers(1, 5), where=METADATA)
    def search(self, query: str, k: int, where: dict[str, Any]) -> None:
        vector = np.array(self.embeddings.embed_query(query))
        allowed = {key for key in self.ids() if all(self.metadata(key).get(a) == b for a, b in where.items())}
        everything = sorted((-self.cosine(key, vector), key) for key in allowed)
        found = self.base.dense(vector, k, where)
        assert {key for key, _ in found} <= allowed
        assert len(found) == min(k, len(allowed))
        assert [score for _, score in found] == pytest.approx([-score for score, _ in everything[:k]], abs=1e-5)
        assert found == sorted(found, key=lambda hit: (-hit[1], hit[0]))

    def ids(self) -> set[str]:
        parts = [part for document in self.base.documents() for part in self.base.chunks(document.id)]
        return set(self.model) | {str(part.id) for part in parts}

    def metadata(self, key: str) -> dict[str, Any]:
        return self.model.get(key, ("", {}))[1]

    def cosine(self, key: str, vector: Any) -> float:
        own = self.base.vectors([key])[0].astype(float)
        return float(own @ vector / max(np.linalg.norm(vector), 1e-30))

    @invariant()
    def agrees(self) -> None:
        Base.steps += 1
        given = self.base.get_by_ids(sorted(self.model))
        assert {each.id: (each.page_content, each.metadata) for each in given} == self.model
        known = {each.source: each.id for each in self.base.documents()}
        assert known.keys() == self.documents.keys()
        for source, text in self.documents.items():
            assert all(part.page_content in text for part in self.base.chunks(known[source]))
        counts = self.counts()
        assert len(set(counts)) == 1, counts

    def counts(self) -> list[int]:
        """Ids, chunks, vectors, words and FAISS's vectors."""
        with self.base._database.reading() as connection:
            sizes = [connection.execute(f"SELECT count(*) FROM {each}").fetchone()[0] for each in ("chunks", "vectors")]  # noqa: S608
            sizes += connection.execute("SELECT (SELECT count(*) FROM words_docsize), total FROM base").fetchone()
            return [len(self.ids()), *sizes, self.base._index.current(connection).size]

    def teardown(self) -> None:
        self.base.close()
        path = Path(self.folder.name, "base", "base.sqlite3")
        connection = sqlite3.connect(path)
        connection.execute(
            "INSERT INTO words(words, rank) VALUES ('integrity-check', 1)"
        )  # words are those of the texts
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()
        self.folder.cleanup()


@pytest.mark.parametrize(
    ("runs", "steps"), [(12, 25), pytest.param(200, 50, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_a_base_agrees_with_a_dictionary(
    runs: int, steps: int, monkeypatch: pytest.MonkeyPatch, figure: Callable[[int, str], None]
) -> None:
    monkeypatch.setattr(vectors_module, "WRITE_AFTER", 2)  # so that the file is in it
    monkeypatch.setattr(Base, "steps", 0)
    run_state_machine_as_test(
        Base,
        settings=settings(
            max_examples=runs, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    figure(11, f"0 violations in {Base.steps:,} steps of adding, failing, deleting, reindexing and reopening")
