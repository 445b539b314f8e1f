"""Chunks in a folder: the two stages of a search, filters, vectors, and the file that FAISS keeps."""

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hashed import HashedEmbeddings

from phireside.errors import IndexDamagedError, KnowledgeError
from phireside.retrieval import Chunking, KnowledgeBase, segments
from phireside.retrieval import vectors as vectors_module
from phireside.retrieval.topics import topic_map

ROWS: dict[str, dict[str, Any]] = {
    "a": {"lang": "en", "page": 1, "tags": ["x", "y"], "draft": True},
    "b": {"lang": "de", "page": 2.5, "tags": ["y"], "draft": None},
    "c": {"lang": "en", "page": "2", "source": "here"},
    "d": {'k"]$\0': "v", "'; DROP TABLE chunks; --": 1, "page": 10},
}


@pytest.fixture
def base(tmp_path: Path) -> Iterator[KnowledgeBase]:
    base = KnowledgeBase(tmp_path / "base", HashedEmbeddings(), chunking=Chunking("tokens", 8, 0))
    base.add_texts(["red fox", "blue fox", "red whale", "green"], list(ROWS.values()), ids=list(ROWS))
    yield base
    base.close()


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({}, "abcd"),
        ({"lang": "en"}, "ac"),
        ({"lang": ["en", "de"]}, "abc"),
        ({"lang": []}, ""),
        ({"page": 1}, "a"),
        ({"page": 1.0}, "a"),
        ({"page": "1"}, ""),
        ({"page": {"$gte": 2}}, "bd"),
        ({"page": {"$gt": 1, "$lt": 10}}, "b"),
        ({"page": {"$lte": "2"}}, "c"),
        ({"page": {"$ne": 1}}, "bcd"),
        ({"page": {"$nin": [1, "2"]}}, "bd"),
        ({"tags": "y"}, "ab"),
        ({"tags": "x", "lang": "en"}, "a"),
        ({"draft": True}, "a"),
        ({"draft": 1}, "a"),
        ({"draft": None}, "bcd"),
        ({"draft": [None, True]}, "abcd"),
        ({"missing": 1}, ""),
        ({"source": "here"}, "c"),
        ({'k"]$\0': "v"}, "d"),
        ({"'; DROP TABLE chunks; --": 1}, "d"),
        ({"lang": "en' OR 1=1 --"}, ""),
        ({"page": float("nan")}, ""),
    ],
)
def test_filters_let_through_what_they_say_in_both_stages(
    base: KnowledgeBase, where: dict[str, Any], found: str
) -> None:
    assert sorted(key for key, _ in base.dense(np.ones(16), 9, where)) == list(found)
    assert sorted(key for key, _ in base.keyword("red blue green fox", 9, where)) == list(found)


@pytest.mark.parametrize(
    "where", [{"a": {}}, {"a": {"$regex": "x"}}, {"a": {"$gt": [1]}}, {"a": 2**70}, {"a": object()}]
)
def test_a_filter_that_cannot_be_is_an_error(base: KnowledgeBase, where: dict[str, Any]) -> None:
    for search in (lambda: base.dense(np.ones(16), 1, where), lambda: base.keyword("fox", 1, where)):
        with pytest.raises(KnowledgeError) as caught:
            search()
        assert "docs/knowledge.md" in caught.value.hint


def test_a_filter_under_another_name_is_not_passed_over(base: KnowledgeBase) -> None:
    with pytest.raises(KnowledgeError, match="filter") as caught:
        base.similarity_search("fox", filter={"lang": "en"})
    assert "where=" in caught.value.hint
    found = base.as_retriever(search_kwargs={"k": 2, "where": {"lang": "de"}}).invoke("fox")
    assert [each.id for each in found] == ["b"]


def test_documents_are_filtered_by_their_own_fields(base: KnowledgeBase) -> None:
    base.add_text("One two three four. Five six seven eight nine ten.", source="s", title="T", metadata={"page": 7})
    document = base.documents()[0].id
    for where in ({"source": "s"}, {"title": "T"}, {"document": document}):
        assert {key for key, _ in base.dense(np.ones(16), 9, where)} == {p.id for p in base.chunks(document)}
    assert base.dense(np.ones(16), 9, {"page": 7}) == []  # its own page, of which a text has none, hides the adder's
    [second] = base.dense(np.ones(16), 9, {"source": "s", "position": 1})
    assert base.get_by_ids([second[0]])[0].metadata["position"] == 1


def test_words_are_words_whatever_the_query_looks_like(base: KnowledgeBase) -> None:
    assert [key for key, _ in base.keyword("WHALES!", 3)] == ["c"]
    for query in ('"', "fox AND", "NEAR(fox", "text:fox*", "-fox", "^fox", "", "(", "\0", "col : x", "fox " * 5000):
        found = [key for key, _ in base.keyword(query, 3)]
        assert set(found) == ({"a", "b"} if "fox" in query else set())
    assert base.keyword(" ".join(f"w{n}" for n in range(5000)), 3) == []
    scores = [score for _, score in base.keyword("red fox", 3)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0


def test_equal_scores_are_ordered_by_id_wherever_the_vectors_lie(base: KnowledgeBase) -> None:
    names = [f"n{n:02}" for n in range(60)]
    for name in reversed(names):
        base.add_texts(["same words"], ids=[name])
    base.write_index()
    vector = np.array(HashedEmbeddings().embed_query("same words"))
    assert [key for key, _ in base.dense(vector, 5)] == names[:5]
    assert [round(score, 6) for _, score in base.dense(vector, 60)] == [1.0] * 60


def test_neighbours_stand_around_a_chunk_in_its_document(base: KnowledgeBase) -> None:
    base.add_text(" ".join(f"word{n}" for n in range(30)), source="s")
    parts = base.chunks(base.documents()[0].id)
    assert base.neighbours(str(parts[2].id), 1) == parts[1:4]
    assert base.neighbours(str(parts[0].id), 2) == parts[:3]
    assert [each.id for each in base.neighbours("a", 3)] == ["a"]
    assert base.neighbours("missing", 1) == []


def test_vectors_come_in_the_order_of_the_ids_and_have_length_one(base: KnowledgeBase) -> None:
    given = base.vectors(["d", "a", "d"])
    assert np.linalg.norm(given, axis=1) == pytest.approx([1, 1, 1])
    assert (given[0] == given[2]).all()
    with pytest.raises(KnowledgeError, match="missing"):
        base.vectors(["missing"])


@pytest.mark.parametrize("vector", [np.ones(8), np.ones((2, 16)), np.full(16, np.nan)])
def test_a_vector_that_cannot_be_compared_is_an_error(base: KnowledgeBase, vector: Any) -> None:
    with pytest.raises(KnowledgeError):
        base.dense(vector, 1)


def test_given_vectors_are_kept_and_bad_ones_refused(base: KnowledgeBase) -> None:
    base.add_embeddings([("same", [1.0] + [0.0] * 15), ("same", [0.0] * 15 + [2.0])], ids=["p", "q"])
    assert base.vectors(["q"])[0].tolist() == [0.0] * 15 + [1.0]
    with pytest.raises(KnowledgeError, match="numbers"):
        base.add_embeddings([("x", [1.0])], ids=["p"])
    assert base.get_by_ids(["p"])[0].page_content == "same"
    with pytest.raises(KnowledgeError, match="2 texts, 1 metadata"):
        base.add_texts(["a", "b"], [{}])


def test_a_model_that_was_wrong_when_it_was_first_asked_is_asked_again(base: KnowledgeBase) -> None:
    model = HashedEmbeddings(7)
    other = KnowledgeBase(base.path, model)
    with pytest.raises(KnowledgeError, match="another one"):
        other.add_texts(["red ant"])
    model.size = 16
    other.add_texts(["red ant"], ids=["e"])
    assert other.reindex() == 5
    assert other.similarity_search("red ant", 1)[0].id == "e"
    other.close()


def test_another_object_on_the_folder_sees_what_is_added_and_removed(base: KnowledgeBase) -> None:
    other = KnowledgeBase(base.path, HashedEmbeddings())
    assert other.similarity_search("red fox", 1)[0].id == "a"
    base.delete(["a"])
    base.add_texts(["pink ant"], ids=["e"])
    assert other.similarity_search("red fox", 1)[0].id != "a"
    assert other.similarity_search("pink ant", 1)[0].id == "e"
    base.delete()
    assert other.similarity_search("pink ant", 1) == []
    other.close()


def test_many_threads_add_and_search_at_once(base: KnowledgeBase) -> None:
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for n in range(10):
                base.add_texts([f"thread{number} step{n}"], ids=[f"{number}-{n}"])
                assert base.similarity_search(f"thread{number} step{n}", 1)[0].id == f"{number}-{n}"
                base.keyword("fox", 2)
        except BaseException as error:  # noqa: BLE001
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(base.dense(np.ones(16), 100)) == 64


def test_a_closed_base_says_so(base: KnowledgeBase) -> None:
    base.close()
    base.close()
    with pytest.raises(KnowledgeError, match="closed"):
        base.similarity_search("fox")


def test_a_search_whose_base_is_closed_while_the_file_is_written_has_its_hits(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors_module, "WRITE_AFTER", 1)
    write = base._index._write

    def closed_then() -> None:
        write()
        base.close()

    monkeypatch.setattr(base._index, "_write", closed_then)
    assert base.similarity_search("red whale", 1)[0].id == "c"


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KnowledgeBase]:
    """A base with a graph of 1500 vectors in its file."""
    monkeypatch.setattr(vectors_module, "FLAT_LIMIT", 1000)
    base = KnowledgeBase(tmp_path / "graph", HashedEmbeddings())
    base.add_texts([f"w{n} w{n % 50} w{n % 9}" for n in range(1500)], [{"n": n} for n in range(1500)], ids=names(1500))
    base.write_index()
    yield base
    base.close()


def names(count: int) -> list[str]:
    return [f"{n:04}" for n in range(count)]


def kinds(base: KnowledgeBase) -> list[str]:
    """What FAISS has, segment by segment."""
    with base._database.reading() as connection:
        return [type(each.index).__name__ for each in base._index.current(connection).segments]


def exact(base: KnowledgeBase, vector: Any, ids: list[str]) -> list[str]:
    scores = base.vectors(ids).astype(float) @ vector
    return [ids[place] for place in np.lexsort((np.array(ids), -np.round(scores, 6)))[:10]]


def test_a_graph_finds_what_comparing_with_all_finds(graph: KnowledgeBase) -> None:
    assert kinds(graph) == ["IndexHNSWFlat"]
    rng, hits = np.random.default_rng(0), 0
    for _ in range(20):
        vector = rng.normal(size=16)
        found = [key for key, _ in graph.dense(vector, 10)]
        hits += len(set(found) & set(exact(graph, vector, names(1500))))
    assert hits >= 196


@pytest.mark.parametrize("upper", [5, 400])
def test_a_filtered_graph_finds_as_many_as_there_are(graph: KnowledgeBase, upper: int) -> None:
    vector = np.ones(16)
    found = [key for key, _ in graph.dense(vector, 10, {"n": {"$lt": upper}})]
    assert len(set(found) & set(exact(graph, vector, names(upper)))) >= min(10, upper) - 1


def test_a_graph_is_grown_and_what_was_deleted_stays_out_of_it(
    graph: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph.delete(names(200))
    graph.add_texts([f"new{n}" for n in range(700)], ids=[f"new{n}" for n in range(700)])
    assert kinds(graph) == ["IndexHNSWFlat", "IndexFlatIP"]
    built = []
    monkeypatch.setattr(vectors_module, "empty_index", lambda *a, **k: built.append(a) or segments.empty_index(*a, **k))
    graph.write_index()
    assert kinds(graph) == ["IndexHNSWFlat"]
    assert built == []  # it was grown, not built
    found = [key for key, _ in graph.dense(np.ones(16), 2500)]
    assert len(found) == 2000
    assert not set(found) & set(names(200))
    graph.delete(names(900))
    graph.write_index()
    assert built  # too many dead: anew
    assert len(graph.dense(np.ones(16), 2500)) == 1300


def test_few_new_texts_do_not_rewrite_the_file(graph: KnowledgeBase) -> None:
    file = graph.path / "index.faiss"
    before = file.stat().st_mtime_ns
    for n in range(20):
        graph.add_texts([f"more{n}"], ids=[f"more{n}"])
        assert graph.similarity_search(f"more{n}", 1)[0].id == f"more{n}"
    graph.write_index()
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize("where", ["abc", [("a", 1)], 5])
def test_a_filter_that_is_none_is_told(base: KnowledgeBase, where: Any) -> None:
    for find in (base.similarity_search, base.keyword):
        with pytest.raises(KnowledgeError, match="filter"):
            find("fox", 3, where=where)


@pytest.mark.parametrize("where", [{f"k{n}": n for n in range(201)}, {"a": list(range(20_001))}])
def test_a_filter_that_is_too_long_is_told_with_its_numbers(base: KnowledgeBase, where: Any) -> None:
    with pytest.raises(KnowledgeError, match=r"filter has .*20[01]"):
        base.similarity_search("fox", where=where)


def test_the_longest_filters_work(base: KnowledgeBase) -> None:
    base.add_texts(["fox"], [{f"k{n}": n for n in range(200)}])
    assert base.similarity_search("fox", where={f"k{n}": {"$ne": -1, "$gte": n, "$lte": n} for n in range(200)})
    assert base.keyword("fox", 3, {"k7": list(range(19_999))})


@pytest.mark.parametrize(("texts", "ids"), [(["x"], [5]), (["x"], [uuid.uuid4()]), ([b"x"], None), ([None], None)])
def test_texts_and_ids_that_are_no_texts_are_told(base: KnowledgeBase, texts: Any, ids: Any) -> None:
    with pytest.raises(KnowledgeError, match="no text"):
        base.add_texts(texts, ids=ids)


@pytest.mark.parametrize("vector", [None, 3.0, ["a"], [[1.0], [2.0, 3.0]], [1e300] * 16, [float("nan")] * 16, [[1.0]]])
def test_what_is_no_vector_is_told(base: KnowledgeBase, vector: Any) -> None:
    for find in (base.similarity_search_by_vector, base.max_marginal_relevance_search_by_vector):
        with pytest.raises(KnowledgeError, match="The vector"):
            find(vector)


@pytest.mark.parametrize("metadata", ["ab", [1], 5])
def test_metadata_that_are_none_are_told(base: KnowledgeBase, metadata: Any) -> None:
    with pytest.raises(KnowledgeError, match="metadata"):
        base.add_texts(["x"], [metadata])


def test_only_the_owner_may_read_what_is_in_the_folder(base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors_module, "WRITE_AFTER", 1)
    base.write_index()
    files = [file for file in base.path.iterdir() if file.stat().st_size]
    assert "index.faiss" in {file.name for file in files}
    assert {file.stat().st_mode & 0o077 for file in files} == {0}


@pytest.mark.parametrize(
    ("damage", "look"),
    [
        ("UPDATE documents SET added_at = 'x'", lambda base: base.documents()),
        ("UPDATE vectors SET vector = 17", lambda base: base.vectors(["a"])),
        ("UPDATE vectors SET vector = 17", lambda base: base.add_texts(["red fox"])),
        ("DELETE FROM vectors WHERE chunk = 1", lambda base: topic_map(base.path)),
    ],
)
def test_values_of_another_kind_are_damage(
    base: KnowledgeBase, damage: str, look: Callable[[KnowledgeBase], object]
) -> None:
    base.add_text("One two three.")
    with base._database.writing() as connection:
        connection.execute(damage)
    with pytest.raises(IndexDamagedError):
        look(base)
