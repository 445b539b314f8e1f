"""Search in stages: by vectors, by words, fused, with feedback, reranked. Every hit says what each stage made of it.

    dense    cosine of the vectors                           } hybrid: fused by their ranks
    keyword  BM25 of the words                               }
    feedback dense once more, with the query moved towards hybrid's first passages, fused with keyword
    rerank   a model reads query and passage together, for the first of what came out

Then what is below the threshold goes ("nothing found" is an answer), likeness among the hits is avoided, and each is
widened by its neighbours. A base of another kind (any LangChain `VectorStore`) has the dense stage only. Knows no
language model and no prompt.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Literal, Protocol, runtime_checkable

from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from phireside.errors import KnowledgeError, NotSupportedError, PhiresideError, RequestError
from phireside.retrieval.embedder import Embedder, Vectors
from phireside.retrieval.feedback import PASSAGES, rocchio
from phireside.retrieval.filters import Where
from phireside.retrieval.fusion import Ranking, diverse, reciprocal_rank_fusion
from phireside.retrieval.widening import widened

Stage = Literal["dense", "keyword", "feedback"]

STAGES: tuple[Stage, ...] = ("dense", "keyword", "feedback")
_CANDIDATES = 4  # times k: among how many the diverse ones are chosen


@runtime_checkable
class Base(Protocol):
    """What the stages need; a `KnowledgeBase` has it."""

    @property
    def embeddings(self) -> Embeddings | None: ...  # noqa: D102
    def dense(self, vector: Vectors, k: int, where: Where | None = None) -> Ranking: ...  # noqa: D102
    def keyword(self, query: str, k: int, where: Where | None = None) -> Ranking: ...  # noqa: D102
    def vectors(self, ids: Sequence[str]) -> Vectors: ...  # noqa: D102
    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]: ...  # noqa: D102
    def neighbours(self, chunk: str, n: int = 1) -> list[Document]: ...  # noqa: D102


@dataclass(frozen=True)
class Search:
    """How to search.

    Args:
        k: most hits.
        stages: which of `STAGES`; None = all that the base has. "feedback" needs "dense".
        pool: how many each stage finds.
        rerank: scores pairs of query and passage; any of LangChain's, or one of `phireside.models.reranker`.
        reranked: how many of the first it scores, at least k.
        threshold: lowest cosine between query and passage, -1 … 1, that a hit may have; None = no limit. The cosine is
            comparable between queries, which ranks and BM25 are not. What it must be depends on the embedding model:
            `phireside eval retrieval` prints the one that keeps 95 % of the relevant passages.
        diversity: 0 … 1; see `phireside.retrieval.fusion.diverse`.
        neighbours: chunks before and after a hit that are added to its text.
        where: which chunks may be found; for another `VectorStore` it is passed on as its `filter`.

    Raises:
        RequestError: a value cannot be used.
    """

    k: int = 5
    stages: tuple[Stage, ...] | None = None
    pool: int = 100
    rerank: BaseCrossEncoder | None = None
    reranked: int = 20
    threshold: float | None = None
    diversity: float = 0.0
    neighbours: int = 0
    where: Where | None = None

    def __post_init__(self) -> None:
        for name, least in (("k", 1), ("pool", 1), ("reranked", 1), ("neighbours", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise RequestError(f"{name} is {value!r}.", hint=f"It must be a whole number, {least} or more.")
        numbers = (self.diversity, 0 if self.threshold is None else self.threshold)
        if not all(isinstance(each, int | float) for each in numbers) or not 0 <= numbers[0] <= 1 >= abs(numbers[1]):
            raise RequestError(
                f"diversity is {self.diversity!r}, threshold {self.threshold!r}.",
                hint="diversity is 0 to 1; threshold is a cosine, -1 to 1, or None.",
            )
        if self.stages is not None:
            _check_stages(self.stages)


@dataclass(frozen=True)
class Hit:
    """A passage that was found.

    Attributes:
        document: the chunk, with its neighbours if they were asked for.
        score: of the last stage.
        ranks: by stage, its place there, from 1; a stage that did not find it is not there.
        scores: by stage, what it was ordered by: cosine, BM25, a sum of reciprocal ranks, the reranker's score.
    """

    document: Document
    score: float
    ranks: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Trace:
    """What each stage found for one query, in the order in which they ran; the last one is the result.

    Attributes:
        rankings: by stage.
        seconds: by stage, of it alone; dense has the embedding of the query.
        vector: of the query; None where the store keeps that to itself.
    """

    rankings: dict[str, Ranking] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    vector: Vectors | None = None
    documents: dict[str, Document] = field(default_factory=dict)

    @property
    def last(self) -> Ranking:
        """The result."""
        return list(self.rankings.values())[-1]

    def run(self, stage: str, find: Callable[[], Ranking]) -> None:
        """Run a stage and keep what it found."""
        start = time.perf_counter()
        self.rankings[stage] = find()
        self.seconds[stage] = time.perf_counter() - start


_DEFAULT = Search()


def search(base: VectorStore | Base, query: str, how: Search = _DEFAULT, *, k: int | None = None) -> list[Hit]:
    """The passages that answer a query best; [] is an answer.

    Args:
        base: a `KnowledgeBase`, or any LangChain `VectorStore`, whose own order is the dense stage.
        query: any text.
        how: see `Search`.
        k: most hits, instead of `how.k`.

    Raises:
        RequestError: k is below 1.
        NotSupportedError: something is asked for that this store does not have.
        KnowledgeError: the base cannot be searched.
    """
    how = how if k is None else replace(how, k=k)
    if not isinstance(query, str):
        raise RequestError(f"The query is {query!r:.40}.", hint="Give a text.")
    if not query.strip():
        return []
    found = trace(base, query, how)
    ranking = found.last
    if isinstance(base, Base):
        ranking = _chosen(base, query, found, how)
        found.documents |= {str(each.id): each for each in base.get_by_ids([each for each, _ in ranking])}
    ranks = {name: {each: at for at, (each, _) in enumerate(run, 1)} for name, run in found.rankings.items()}
    scores = {name: dict(run) for name, run in found.rankings.items()}
    hits = [
        Hit(
            found.documents[each],
            score,
            {name: run[each] for name, run in ranks.items() if each in run},
            {name: run[each] for name, run in scores.items() if each in run},
        )
        for each, score in ranking
        if each in found.documents  # else it was removed meanwhile
    ][: how.k]
    if how.neighbours and isinstance(base, Base):
        documents = widened(base, [hit.document for hit in hits], how.neighbours)
        hits = [replace(hit, document=wide) for hit, wide in zip(hits, documents, strict=True) if wide is not None]
    return hits


def trace(base: VectorStore | Base, query: str, how: Search = _DEFAULT) -> Trace:
    """All stages' rankings for one query; see `search`."""
    found = Trace()
    if isinstance(base, Base):
        _own_stages(base, query, how, found)
    else:
        _others_stage(base, query, how, found)
    if (judge := how.rerank) is not None:
        found.run("rerank", lambda: _reranked(base, query, how, found, judge))
    return found


def _own_stages(base: Base, query: str, how: Search, found: Trace) -> None:
    stages = how.stages or STAGES

    def dense() -> Ranking:
        return base.dense(_vector(base, query, found), how.pool, how.where)

    def feedback() -> Ranking:
        _, passages = _vectors(base, [each for each, _ in found.last[:PASSAGES]])
        moved = base.dense(rocchio(_vector(base, query, found), passages), how.pool, how.where)
        return reciprocal_rank_fusion([moved, found.rankings["keyword"]]) if "keyword" in stages else moved

    if "dense" in stages:
        found.run("dense", dense)
    if "keyword" in stages:
        found.run("keyword", lambda: base.keyword(query, how.pool, how.where))
    if "dense" in stages and "keyword" in stages:
        found.run("hybrid", lambda: reciprocal_rank_fusion([found.rankings["dense"], found.rankings["keyword"]]))
    if "feedback" in stages:
        found.run("feedback", feedback)


def _others_stage(store: VectorStore, query: str, how: Search, found: Trace) -> None:
    """Any LangChain store: its own order, with whatever it calls a score."""
    lacking = {
        "stages": how.stages not in (None, ("dense",)),
        "threshold": how.threshold is not None,
        "diversity": how.diversity,
        "neighbours": how.neighbours,
    }
    if wanted := [name for name, asked in lacking.items() if asked]:
        raise NotSupportedError(
            f"{type(store).__name__} has dense search only; {', '.join(wanted)} cannot be had of it.",
            hint="Leave it out, or use a phireside.retrieval.KnowledgeBase.",
        )
    count = max(how.k, how.reranked) if how.rerank else how.k

    def dense() -> Ranking:
        pairs = _asked(store, query, count, how.where)
        found.documents = {str(at): each for at, (each, _) in enumerate(pairs)}  # its ids may be missing, or equal
        return [(each, float(score)) for each, (_, score) in zip(found.documents, pairs, strict=True)]

    found.run("dense", dense)


def _asked(store: VectorStore, query: str, k: int, where: Where | None) -> list[tuple[Document, float]]:
    name, kept = type(store).__name__, {"filter": where} if where else {}
    try:
        return store.similarity_search_with_score(query, k=k, **kept)
    except PhiresideError:
        raise
    except NotImplementedError as error:
        raise NotSupportedError(
            f"{name} has no search with scores.", hint="Use a phireside.retrieval.KnowledgeBase."
        ) from error
    except Exception as error:  # a store of another library raises what it likes
        hint = "It was given where as its filter; its documentation says what that may be." if where else ""
        raise KnowledgeError(f"{name} cannot be searched: {type(error).__name__}: {error}", hint=hint) from error


def _reranked(base: VectorStore | Base, query: str, how: Search, found: Trace, judge: BaseCrossEncoder) -> Ranking:
    """The first ones in the reranker's order. Those that it did not see are left out."""
    ids = [each for each, _ in found.last[: max(how.reranked, how.k)]]
    documents = {str(each.id): each for each in base.get_by_ids(ids)} if isinstance(base, Base) else found.documents
    there = [each for each in ids if each in documents]
    scores = _judged(judge, [(query, passage_text(documents[each])) for each in there]) if there else []
    return sorted(zip(there, scores, strict=True), key=lambda hit: -hit[1])  # equal ones stay as they are


def _judged(judge: BaseCrossEncoder, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """A reranker's scores of pairs of query and passage."""
    hint = "Check it, or search without it."
    try:
        scores = [float(score) for score in judge.score(list(pairs))]
    except PhiresideError:
        raise
    except Exception as error:  # anybody's code
        what = f"{type(judge).__name__} failed on {len(pairs)} passages: {type(error).__name__}: {error}"
        raise KnowledgeError(f"The reranker {what}", hint=hint) from error
    if len(scores) != len(pairs) or any(map(isnan, scores)):
        what = f"{type(judge).__name__} gave {len(scores)} scores for {len(pairs)} passages, or NaN among them."
        raise KnowledgeError(f"The reranker {what}", hint=hint)
    return scores


def _chosen(base: Base, query: str, found: Trace, how: Search) -> Ranking:
    """The result without what is below the threshold, and without too much of the same."""
    ranking = found.last
    if how.threshold is None and not how.diversity:
        return ranking[: how.k]
    ids, vectors = _vectors(base, [each for each, _ in ranking])
    scores = dict(ranking)
    ranking = [(each, scores[each]) for each in ids]
    if how.threshold is not None and ids:
        if found.vector is None:  # the dense stage did not run, which refuses a model that is not the base's
            base.dense(_vector(base, query, found), 1)
        near = vectors @ _vector(base, query, found) >= how.threshold
        ranking, vectors = [hit for hit, keep in zip(ranking, near, strict=True) if keep], vectors[near]
    if not how.diversity:
        return ranking[: how.k]
    count = how.k * _CANDIDATES
    return diverse(ranking[:count], vectors[:count], how.diversity, how.k)


def _vectors(base: Base, ids: Sequence[str]) -> tuple[list[str], Vectors]:
    """Vectors of those chunks that are still there: another process may have removed one meanwhile."""
    try:
        return list(ids), base.vectors(ids)
    except KnowledgeError:
        there = {str(each.id) for each in base.get_by_ids(ids)}
        left = [each for each in ids if each in there]
        return left, base.vectors(left)


def _vector(base: Base, query: str, found: Trace) -> Vectors:
    """The query's, which is made once."""
    if found.vector is None:
        if base.embeddings is None:
            raise NotSupportedError("This base has no embedding model.", hint='Search it with stages=("keyword",).')
        found.vector = Embedder(base.embeddings).query(query)
    return found.vector


def passage_text(document: Document) -> str:
    """What a reranker reads: title, heading and text."""
    before = [str(document.metadata.get(name) or "") for name in ("title", "heading")]
    return "\n".join([*filter(None, before), document.page_content])


def _check_stages(stages: Sequence[str]) -> None:
    unknown = [each for each in stages if each not in STAGES]
    if unknown or not stages or ("feedback" in stages and "dense" not in stages):
        alone = f"{', '.join(stages) or 'No stage'} cannot be searched alone."
        raise RequestError(
            f"There is no stage {unknown[0]!r}." if unknown else alone,
            hint=f"Choose among {', '.join(STAGES)}; feedback needs dense; dense and keyword together are hybrid.",
        )
