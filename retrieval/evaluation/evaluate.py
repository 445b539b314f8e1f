"""Evaluate a base's stages on judged queries. Knows no command line and no plot."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from langchain_core.embeddings import Embeddings

from phireside.errors import RequestError
from phireside.retrieval.adding import text_item
from phireside.retrieval.chunking import Chunking
from phireside.retrieval.evaluation.beir import Collection, Judgments
from phireside.retrieval.evaluation.measures import Difference, Values, difference, measured
from phireside.retrieval.knowledge_base import KnowledgeBase
from phireside.retrieval.search import STAGES, Base, Search, Trace, trace

ROWS = ("dense", "keyword", "hybrid", "feedback", "rerank")
WHOLE = Chunking(how="tokens", size=1_000_000, overlap=0)  # each document is one chunk, as in BEIR
Unit = Literal["chunk", "source"]
Progress = Callable[[int, int], None]

_KEPT = 0.95  # share of relevant passages that the printed threshold keeps


@dataclass(frozen=True)
class StageResult:
    """What a stage reached.

    Attributes:
        name: of the stage.
        values: by measure, one for each query.
        seconds: one for each query, of this stage alone.
        against: how nDCG differs from the stage before it in the table; None for the first.
    """

    name: str
    values: Mapping[str, Values]
    seconds: Values
    against: Difference | None = None

    def mean(self, measure: str) -> float:
        """Over the queries."""
        return float(self.values[measure].mean())


@dataclass(frozen=True)
class Evaluation:
    """All stages on the same queries.

    Attributes:
        stages: in the order of `ROWS`.
        queries: ids.
        k: at how many hits the measures are taken.
        generated: whether the questions were written by a model, and not judged by people.
        threshold: the cosine that 95 % of the relevant passages among the dense stage's hits have; None without any.
    """

    stages: tuple[StageResult, ...]
    queries: tuple[str, ...]
    k: int
    generated: bool = False
    threshold: float | None = None


def base_of(
    collection: Collection, path: Path, embeddings: Embeddings, *, chunking: Chunking = WHOLE,
    progress: Progress | None = None,
) -> KnowledgeBase:  # fmt: skip
    """A base with a collection's documents, whose sources are their ids. What is there already is not embedded again;
    a document without title and text is left out.

    Args:
        collection: whose documents.
        path: folder of the base.
        embeddings: the model.
        chunking: whole documents, unless said otherwise; then a document's rank is that of its first chunk.
        progress: called with done and total.

    Raises:
        RequestError: there are others in the base, which would be found as well.
        KnowledgeError: one cannot be embedded.
    """
    base = KnowledgeBase(path, embeddings, chunking=chunking)
    items = [
        text_item(text if text.strip() else title, each, title, {})
        for each, (title, text) in collection.documents.items()
        if text.strip() or title.strip()
    ]
    if others := {each.source for each in base.documents()} - {item.source for item in items}:
        base.close()
        raise RequestError(
            f"{len(others)} documents in {path} are not in the collection, e.g. {min(others)!r}.",
            hint="Choose another folder, or delete this one.",
        )
    report = base.add_items(items, progress and (lambda done, total, _: progress(done, total)))
    for _, error in report.failed:
        base.close()
        raise error
    return base


def evaluate(
    base: Base,
    queries: Mapping[str, str],
    judgments: Judgments,
    *,
    k: int = 10,
    rows: Sequence[str] = ("dense", "keyword", "hybrid", "feedback"),
    how: Search | None = None,
    unit: Unit = "source",
    generated: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Search for every query, and measure what each stage found.

    Args:
        base: that is searched.
        queries: texts by id; each with judgments.
        judgments: by query and unit.
        k: at how many hits the measures are taken.
        rows: stages to report, of `ROWS`; those that they need run as well.
        how: pool, reranker and filter; None = the defaults.
        unit: what is judged: chunks by their ids, or documents by their sources.
        generated: see `Evaluation`.
        progress: called with done and total.

    Raises:
        RequestError: there is no such stage, or no query.
    """
    rows, how = _checked(rows, queries, how or Search()), _needed(rows, how or Search(), k)
    rankings: dict[str, dict[str, list[str]]] = {row: {} for row in rows}
    seconds: dict[str, list[float]] = {row: [] for row in rows}
    cosines: list[float] = []
    for done, (each, text) in enumerate(queries.items(), 1):
        found = trace(base, text, how)
        units = _units(base, found, unit)
        for row in rows:
            ranking = found.rankings.get(row, [])
            rankings[row][each] = list(dict.fromkeys(units[hit] for hit, _ in ranking if hit in units))
            seconds[row].append(found.seconds.get(row, 0.0))
        relevant = {name for name, grade in judgments[each].items() if grade > 0}
        cosines += [score for hit, score in found.rankings.get("dense", ()) if units.get(hit) in relevant]
        if progress is not None:
            progress(done, len(queries))
    ids = tuple(queries)
    values = {row: measured(rankings[row], judgments, ids, k) for row in rows}
    threshold = float(np.quantile(cosines, 1 - _KEPT)) if cosines else None
    return Evaluation(_compared(values, seconds), ids, k, generated, threshold)


def _compared(
    values: Mapping[str, Mapping[str, Values]], seconds: Mapping[str, list[float]]
) -> tuple[StageResult, ...]:
    """The stages, each with its difference to the one before, if there is more than one query."""
    before = [None, *(each["nDCG"] for each in values.values())]
    return tuple(
        StageResult(
            row,
            each,
            np.array(seconds[row]),
            None if last is None or len(last) < 2 else difference(last, each["nDCG"]),
        )
        for (row, each), last in zip(values.items(), before, strict=False)
    )


def _checked(rows: Sequence[str], queries: Mapping[str, str], how: Search) -> tuple[str, ...]:
    unknown = [row for row in rows if row not in ROWS]
    if unknown or not rows:
        raise RequestError(f"There is no stage {', '.join(unknown) or 'named'}.", hint=f"Stages: {', '.join(ROWS)}.")
    if "rerank" in rows and how.rerank is None:
        raise RequestError(
            "No reranker is named.", hint="Give one, e.g. --reranker cross-encoder/ms-marco-MiniLM-L6-v2."
        )
    if not queries:
        raise RequestError("There is no query to evaluate with.", hint="Give judgments, or let questions be generated.")
    return tuple(row for row in ROWS if row in rows)


def _needed(rows: Sequence[str], how: Search, k: int) -> Search:
    """The search that has these rows, and no more work than that."""
    stages = STAGES if {"feedback", "rerank"} & set(rows) else STAGES[:2]
    stages = how.stages or stages
    rerank = how.rerank if "rerank" in rows else None
    return replace(how, stages=stages, rerank=rerank, k=k, reranked=max(how.reranked, k), pool=max(how.pool, k))


def _units(base: Base, found: Trace, unit: Unit) -> dict[str, str]:
    """By chunk id, what is judged of it."""
    ids = list(dict.fromkeys(hit for ranking in found.rankings.values() for hit, _ in ranking))
    if unit == "chunk":
        return {each: each for each in ids}
    return {str(each.id): str(each.metadata.get("source") or each.id) for each in base.get_by_ids(ids)}
