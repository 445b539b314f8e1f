"""Evaluations of search that are kept with their questions, and what has changed from one to another."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from phireside.retrieval.evaluation.beir import Judgments
from phireside.retrieval.evaluation.evaluate import Evaluation, StageResult, Unit
from phireside.retrieval.evaluation.measures import MEASURES, Difference, Values, difference
from phireside.runs import Runs


@dataclass(frozen=True)
class RetrievalRun:
    """An evaluation, with what it was made of.

    Attributes:
        base: name of the base.
        embeddings: name of its model.
        found: what was measured.
        queries: texts by id.
        judgments: by query and unit.
        unit: what is judged.
        written_by: the model that wrote the questions; empty = people judged.
        reranker: its name; empty = none.
    """

    base: str
    embeddings: str
    found: Evaluation
    queries: Mapping[str, str]
    judgments: Judgments
    unit: Unit
    written_by: str = ""
    reranker: str = ""


@dataclass(frozen=True)
class StageChange:
    """A stage in two evaluations.

    Attributes:
        stage: its name.
        before, after: the mean of the measure; None = the stage was not evaluated.
        difference: whether it is more than chance; None where the questions are not the same.
        before_ms, after_ms: median milliseconds of the stage alone.
    """

    stage: str
    before: float | None
    after: float | None
    difference: Difference | None = None
    before_ms: float | None = None
    after_ms: float | None = None


def same_questions(before: RetrievalRun, after: RetrievalRun) -> bool:
    """Whether two evaluations asked the same questions, judged alike, and measured at the same number of hits."""
    return (dict(before.queries), _plain(before.judgments), before.found.k) == (
        dict(after.queries),
        _plain(after.judgments),
        after.found.k,
    )


def stage_changes(before: RetrievalRun, after: RetrievalRun, measure: str = "nDCG") -> tuple[StageChange, ...]:
    """What has changed in each stage.

    Args:
        before: the earlier evaluation.
        after: the later one.
        measure: one of `MEASURES`.
    """
    paired = same_questions(before, after) and len(before.found.queries) > 1
    old, new = ({stage.name: stage for stage in run.found.stages} for run in (before, after))
    order = {each: at for at, each in enumerate(before.found.queries)}
    changes = []
    for name in {**old, **new}:
        first, second = old.get(name), new.get(name)
        apart = None
        if paired and first and second:
            at = [order[each] for each in after.found.queries]
            apart = difference(first.values[measure][at], second.values[measure])
        old_mean, new_mean = (stage.mean(measure) if stage else None for stage in (first, second))
        changes.append(StageChange(name, old_mean, new_mean, apart, _ms(first), _ms(second)))
    return tuple(changes)


def worst_questions(run: RetrievalRun, stage: str, measure: str = "nDCG") -> list[tuple[str, float]]:
    """The texts of the questions with their values, the worst first."""
    (values,) = [each.values[measure] for each in run.found.stages if each.name == stage]
    found = [(run.queries[each], float(value)) for each, value in zip(run.found.queries, values, strict=True)]
    return sorted(found, key=lambda each: each[1])


@lru_cache(maxsize=64)  # it remembers what it has read
def retrieval_runs(folder: Path) -> Runs[RetrievalRun]:
    """The evaluations of search in a folder."""
    return Runs(folder, "retrieval", _write, _read)


class _Stage(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    name: str
    values: dict[str, list[float]]
    seconds: list[float]
    against: dict[str, float] | None


class _Written(BaseModel):
    """The form in the file."""

    model_config = ConfigDict(allow_inf_nan=False)

    base: str
    embeddings: str
    queries: dict[str, str]
    judgments: dict[str, dict[str, int]]
    unit: Unit
    written_by: str
    reranker: str
    order: list[str]
    k: int
    threshold: float | None
    stages: list[_Stage]


def _write(run: RetrievalRun) -> Any:
    found = run.found
    stages = [
        _Stage(
            name=stage.name,
            values={name: _listed(stage.values[name]) for name in MEASURES},
            seconds=_listed(stage.seconds),
            against=stage.against and vars(stage.against),
        )
        for stage in found.stages
    ]
    return _Written(
        base=run.base, embeddings=run.embeddings, queries=dict(run.queries), judgments=_plain(run.judgments),
        unit=run.unit, written_by=run.written_by, reranker=run.reranker,
        order=list(found.queries), k=found.k, threshold=found.threshold, stages=stages,
    ).model_dump(mode="json")  # fmt: skip


def _read(data: Any) -> RetrievalRun:
    given = _Written.model_validate(data)
    count = len(given.order)
    for stage in given.stages:
        lengths = {len(stage.seconds), *(len(stage.values[name]) for name in MEASURES)}
        if lengths != {count} or not count:
            raise ValueError(f"the stage {stage.name} has not one value for each of the {count} questions")
    if set(given.order) != given.queries.keys() or not given.stages:
        raise ValueError("the questions are not those that were measured, or no stage was")
    stages = tuple(
        StageResult(
            stage.name,
            {name: np.array(stage.values[name]) for name in MEASURES},
            np.array(stage.seconds),
            Difference(**stage.against) if stage.against else None,
        )
        for stage in given.stages
    )
    found = Evaluation(stages, tuple(given.order), given.k, bool(given.written_by), given.threshold)
    about = (given.queries, given.judgments, given.unit, given.written_by, given.reranker)
    return RetrievalRun(given.base, given.embeddings, found, *about)


def _plain(judgments: Judgments) -> dict[str, dict[str, int]]:
    return {query: dict(judged) for query, judged in judgments.items()}


def _listed(values: Values) -> list[float]:
    numbers: list[float] = values.tolist()
    return numbers


def _ms(stage: StageResult | None) -> float | None:
    return None if stage is None else 1000 * float(np.median(stage.seconds))
