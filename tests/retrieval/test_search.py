"""Search over a real base with vectors without weights: stages, threshold, neighbours, filters, other stores."""

from collections.abc import Iterator
from typing import Any

import pytest
from hashed import HashedEmbeddings
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests

from phireside.errors import KnowledgeError, NotSupportedError, RequestError
from phireside.retrieval import Chunking, KnowledgeBase
from phireside.retrieval.retriever import HybridRetriever
from phireside.retrieval.search import Search, search, trace

TEXTS = {
    "fire": "A campfire needs dry wood and air.",
    "ice": "Ice on a lake carries a person at ten centimetres.",
    "code": "Error E4711 means that the pump has no water.",
    "wood": "Dry wood of birch burns with little smoke.",
    "boat": "A boat on the lake needs two oars.",
}


@pytest.fixture(scope="module")
def base() -> Iterator[KnowledgeBase]:
    metadatas = [{"length": len(text)} for text in TEXTS.values()]
    made = KnowledgeBase.from_texts(list(TEXTS.values()), HashedEmbeddings(64), metadatas, ids=list(TEXTS))
    yield made
    made.close()


class ByLength(BaseCrossEncoder):
    """The shorter a passage, the better."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        self.pairs = text_pairs
        return [-float(len(passage)) for _, passage in text_pairs]


def ids(hits: Any) -> list[str]:
    return [str(hit.document.id) for hit in hits]


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _base(self, base: KnowledgeBase) -> None:
        self.base = base

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return HybridRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"base": self.base}

    @property
    def retriever_query_example(self) -> str:
        return "dry wood for a fire"


def test_a_hit_says_what_each_stage_made_of_it(base: KnowledgeBase) -> None:
    first = search(base, "what does E4711 mean")[0]
    assert first.document.id == "code"
    assert set(first.ranks) == set(first.scores) == {"dense", "keyword", "hybrid", "feedback"}
    assert first.ranks["keyword"] == first.ranks["feedback"] == 1
    assert first.score == first.scores["feedback"]


def test_ranks_and_scores_are_those_of_the_stages(base: KnowledgeBase) -> None:
    found = trace(base, "dry wood")
    for hit in search(base, "dry wood"):
        for name, ranking in found.rankings.items():
            place = [each for each, _ in ranking].index(str(hit.document.id)) + 1 if name in hit.ranks else None
            assert hit.ranks.get(name) == place
    assert set(found.seconds) == set(found.rankings)


@pytest.mark.parametrize(
    ("stages", "ran"),
    [
        (("dense",), ["dense"]),
        (("keyword",), ["keyword"]),
        (("dense", "keyword"), ["dense", "keyword", "hybrid"]),
        (("dense", "feedback"), ["dense", "feedback"]),
        (None, ["dense", "keyword", "hybrid", "feedback"]),
    ],
)
def test_only_the_stages_that_are_asked_for_run(base: KnowledgeBase, stages: Any, ran: list[str]) -> None:
    assert list(trace(base, "dry wood", Search(stages=stages)).rankings) == ran


def test_feedback_draws_the_query_to_the_first_two(base: KnowledgeBase) -> None:
    rankings = trace(base, "campfire", Search(stages=("dense", "feedback"))).rankings
    before, after = dict(rankings["dense"]), dict(rankings["feedback"])
    assert all(after[each] > before[each] + 0.3 for each in list(before)[:2])
    assert after["code"] < min(after[each] for each in list(before)[:2])


def test_nothing_above_the_threshold_is_nothing_found(base: KnowledgeBase) -> None:
    cosines = dict(trace(base, "dry wood").rankings["dense"])
    limit = sorted(cosines.values())[-2]
    assert set(ids(search(base, "dry wood", Search(threshold=limit)))) == {
        each for each, cosine in cosines.items() if cosine >= limit
    }
    assert search(base, "zebra", Search(threshold=0.99)) == []
    assert search(base, "E4711", Search(stages=("keyword",), threshold=0.99)) == []


@pytest.mark.parametrize("query", ["", " \n", "zzz"])
def test_words_that_are_nowhere_find_nothing(base: KnowledgeBase, query: str) -> None:
    assert search(base, query, Search(stages=("keyword",))) == []


@pytest.mark.parametrize("query", ["\ud800 wood", "a\0b", '" OR NEAR(', "🪵" * 5000])
def test_any_text_is_a_query(base: KnowledgeBase, query: str) -> None:
    assert len(search(base, query)) == 5


def test_an_empty_base_has_nothing() -> None:
    with_nothing = KnowledgeBase.from_texts([], HashedEmbeddings())
    assert search(with_nothing, "wood", Search(rerank=ByLength(), diversity=0.5, threshold=0.1, neighbours=1)) == []
    with_nothing.close()


def test_reranking_orders_the_first_ones_by_its_own_scores(base: KnowledgeBase) -> None:
    judge = ByLength()
    hits = search(base, "dry wood", Search(k=2, rerank=judge, reranked=3))
    assert len(judge.pairs) == 3
    lengths = [len(hit.document.page_content) for hit in hits]
    assert lengths == sorted(len(passage) for _, passage in judge.pairs)[:2]
    assert [hit.ranks["rerank"] for hit in hits] == [1, 2]


def test_a_filter_holds_in_every_stage(base: KnowledgeBase) -> None:
    where = {"length": len(TEXTS["ice"])}
    found = trace(base, "dry wood on a lake", Search(where=where))
    assert {each for ranking in found.rankings.values() for each, _ in ranking} == {"ice"}


def test_diversity_leaves_the_first_hit_and_avoids_its_like(base: KnowledgeBase) -> None:
    base_first = ids(search(base, "dry wood", Search(k=2)))
    assert set(base_first) == {"fire", "wood"}
    spread = ids(search(base, "dry wood", Search(k=2, diversity=0.9)))
    assert spread[0] == base_first[0]
    assert spread[1] != base_first[1]


def test_neighbours_are_joined_once(tmp_path: Any) -> None:
    text = " ".join(f"Sentence {number} tells of thing{number}." for number in range(12))
    with_parts = KnowledgeBase(tmp_path, HashedEmbeddings(64), chunking=Chunking("sentences", size=20, overlap=8))
    with_parts.add_text(text, source="story")
    plain = search(with_parts, "thing5", Search(k=3, stages=("keyword",)))
    hits = search(with_parts, "thing5", Search(k=3, stages=("keyword",), neighbours=1))
    for hit in hits:
        start, end = hit.document.metadata["start"], hit.document.metadata["end"]
        assert " ".join(hit.document.page_content.split()) == text[start:end]
    assert len(hits[0].document.page_content) > len(plain[0].document.page_content)
    assert len({hit.document.metadata["start"] for hit in hits}) == len(hits) <= len(plain)
    with_parts.close()


def test_chunks_that_go_while_one_searches_are_left_out(base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KnowledgeBase.get_by_ids

    def without_fire(self: KnowledgeBase, wanted: Any, /) -> list[Document]:
        return [each for each in kept(self, wanted) if each.id != "fire"]

    def vectors(self: KnowledgeBase, wanted: list[str]) -> Any:
        if "fire" in wanted:
            raise KnowledgeError("There is no chunk 'fire'.")
        return given(self, wanted)

    given = KnowledgeBase.vectors
    monkeypatch.setattr(KnowledgeBase, "get_by_ids", without_fire)
    monkeypatch.setattr(KnowledgeBase, "vectors", vectors)
    found = ids(search(base, "dry wood", Search(threshold=-1, rerank=ByLength())))
    assert "fire" not in found
    assert "wood" in found


def test_any_other_store_has_its_own_order() -> None:
    store = InMemoryVectorStore(HashedEmbeddings(64))
    store.add_texts(list(TEXTS.values()), ids=list(TEXTS))
    hits = search(store, "dry wood", Search(k=2))
    assert ids(hits) == [each.id for each in store.similarity_search("dry wood", k=2)]
    assert [hit.ranks for hit in hits] == [{"dense": 1}, {"dense": 2}]
    reranked = search(store, "dry wood", Search(k=2, rerank=ByLength()))
    assert len(reranked[0].document.page_content) == min(map(len, TEXTS.values()))
    found = HybridRetriever(base=store, k=1).invoke("dry wood")
    assert found[0].metadata["ranks"] == {"dense": 1}


@pytest.mark.parametrize("how", [{"stages": ("keyword",)}, {"threshold": 0.5}, {"diversity": 0.5}, {"neighbours": 1}])
def test_what_another_store_lacks_is_told(how: Any) -> None:
    store: VectorStore = InMemoryVectorStore(HashedEmbeddings())
    with pytest.raises(NotSupportedError, match=f"dense search only; {next(iter(how))}"):
        search(store, "wood", Search(**how))


@pytest.mark.parametrize(
    "wrong",
    [{"k": 0}, {"pool": 0}, {"neighbours": -1}, {"diversity": 2}, {"threshold": 7}, {"stages": ("hybrid",)},
     {"stages": ()}, {"stages": ("keyword", "feedback")}, {"k": "5"}, {"k": None}, {"k": 2.5}, {"pool": True},
     {"diversity": "1"}, {"threshold": "x"}, {"threshold": float("nan")}],
)  # fmt: skip
def test_values_that_cannot_be_are_told(wrong: Any) -> None:
    with pytest.raises(RequestError):
        Search(**wrong)


class Raising(InMemoryVectorStore):
    """A store whose search raises what a test says, or gives two passages with one id."""

    error: Exception | None = None

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[Document, float]]:
        if self.error is not None:
            raise self.error
        return [(Document("a", id="x"), 1.0), (Document("b", id="x"), 0.9)]


def test_equal_ids_of_another_store_are_two_hits() -> None:
    hits = search(Raising(HashedEmbeddings()), "wood")
    assert [(hit.document.page_content, hit.score, hit.ranks) for hit in hits] == [
        ("a", 1.0, {"dense": 1}), ("b", 0.9, {"dense": 2})
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "kind"), [(NotImplementedError(), NotSupportedError), (OSError("gone"), KnowledgeError)]
)
def test_what_another_store_raises_is_told(error: Exception, kind: type[Exception]) -> None:
    store = Raising(HashedEmbeddings())
    store.error = error
    with pytest.raises(kind, match="Raising"):
        search(store, "wood")


def test_a_filter_that_another_store_cannot_use_is_told() -> None:
    store = InMemoryVectorStore(HashedEmbeddings())
    store.add_texts(["a"])
    with pytest.raises(KnowledgeError, match="TypeError") as told:
        search(store, "wood", Search(where={"n": 1}))
    assert "where" in told.value.hint


@pytest.mark.parametrize("other", [HashedEmbeddings(64, seed=1), HashedEmbeddings(8)])
def test_a_threshold_of_another_model_than_the_base_s_is_refused(tmp_path: Any, other: HashedEmbeddings) -> None:
    KnowledgeBase.from_texts(["dry wood"], HashedEmbeddings(64), path=tmp_path).close()
    opened = KnowledgeBase(tmp_path, other)
    assert search(opened, "wood", Search(stages=("keyword",)))
    with pytest.raises(KnowledgeError, match="is another one"):
        search(opened, "wood", Search(stages=("keyword",), threshold=-1))
    opened.close()


class Judge(BaseCrossEncoder):
    """Gives what a test says, or raises it."""

    def __init__(self, given: Any) -> None:
        self.given = given

    def score(self, text_pairs: list[tuple[str, str]]) -> Any:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


@pytest.mark.parametrize(
    ("given", "reason"),
    [(MemoryError("no room"), "MemoryError: no room"), ([1.0], "1 scores for 5"), ([float("nan")] * 5, "NaN"),
     ("words", "ValueError"), (None, "TypeError")],
)  # fmt: skip
def test_a_reranker_that_fails_is_named(base: KnowledgeBase, given: Any, reason: str) -> None:
    with pytest.raises(KnowledgeError, match=f"The reranker Judge .*{reason}"):
        search(base, "dry wood", Search(rerank=Judge(given)))


def test_what_a_reranker_of_ours_says_is_passed_on(base: KnowledgeBase) -> None:
    with pytest.raises(RequestError, match="busy"):
        search(base, "dry wood", Search(rerank=Judge(RequestError("It is busy."))))


@pytest.mark.parametrize("query", [[float("nan")] * 64, None, [[1.0], [2.0, 3.0]]])
def test_an_embedding_model_that_fails_on_a_question_is_named(
    base: KnowledgeBase, query: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base.embeddings, "embed_query", lambda text: query)
    for stages in (None, ("dense",)):
        with pytest.raises(KnowledgeError, match="The embedding model HashedEmbeddings gave"):
            search(base, "dry wood", Search(stages=stages))
    monkeypatch.setattr(base.embeddings, "embed_query", {}.__getitem__)
    with pytest.raises(KnowledgeError, match="failed on a question: KeyError"):
        search(base, "dry wood")


@pytest.mark.parametrize("name", ["pool", "neighbours", "k", "reranked"])
def test_there_may_be_asked_for_more_than_sqlite_can_count(base: KnowledgeBase, name: str) -> None:
    how = Search(**{name: 2**70}, rerank=ByLength())
    assert {str(hit.document.id) for hit in search(base, "dry wood", how)} == set(TEXTS)


@pytest.mark.parametrize("query", [None, 5, ["wood"]])
def test_what_is_no_text_is_no_query(base: KnowledgeBase, query: Any) -> None:
    with pytest.raises(RequestError, match="query"):
        search(base, query)


def test_a_retriever_leaves_the_chunks_as_they_are(base: KnowledgeBase) -> None:
    found = HybridRetriever(base=base, how=Search(k=1)).invoke("E4711")[0]
    assert found.metadata["length"] == len(TEXTS["code"])
    assert found.metadata["ranks"]["keyword"] == 1
    assert "ranks" not in base.get_by_ids(["code"])[0].metadata


def test_the_number_of_hits_may_be_given_with_the_query(base: KnowledgeBase) -> None:
    assert len(search(base, "dry wood", k=2)) == 2
    with pytest.raises(RequestError, match="k is 0"):
        search(base, "dry wood", k=0)
