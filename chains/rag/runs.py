"""Judged answers that are kept, and what has changed from one judgement to another."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from phireside.chains.rag.judging import METRICS, Report, Sample
from phireside.retrieval.evaluation import Difference, difference
from phireside.runs import Runs


@dataclass(frozen=True)
class AnswersRun:
    """Answers that were judged.

    Attributes:
        source: where they are from: a file's name, or a base's.
        judge: name of the model that judged.
        lines: of the file, one for each sample; or their numbers from 1.
        report: the samples with their scores.
        problems: of lines that hold no sample.
        total: how many were to be judged; those that the report lacks were not when it was stopped.
        answered_by: the model that answered; empty = nobody knows.
        seconds: it took.
    """

    source: str
    judge: str
    lines: tuple[int, ...]
    report: Report
    problems: tuple[tuple[int, str], ...] = ()
    total: int = 0
    answered_by: str = ""
    seconds: float = 0.0

    @property
    def unscored(self) -> tuple[tuple[int, str], ...]:
        """Every line that has no scores, and why."""
        failed = [
            (line, each.problem) for line, each in zip(self.lines, self.report.judged, strict=True) if each.problem
        ]
        return tuple(sorted([*failed, *self.problems]))


@dataclass(frozen=True)
class AxisChange:
    """A metric in two judgements.

    Attributes:
        metric: its name.
        before, after: means over the questions that have it in both; None = there is none.
        questions: how many these are.
        difference: whether it is more than chance; None for fewer than two.
    """

    metric: str
    before: float | None
    after: float | None
    questions: int
    difference: Difference | None = None


def as_data(run: AnswersRun) -> dict[str, Any]:
    """For `json.dumps`: means, the scores of each answer, and the unscored; as `phireside eval answers --json`."""
    samples = zip(run.lines, run.report.judged, strict=True)
    return {
        "means": {name: {"mean": mean, "samples": count} for name, (mean, count) in run.report.means().items()},
        "samples": [{"line": line, "question": one.sample.question, **asdict(one.scores)} for line, one in samples],
        "unscored": [{"line": line, "problem": problem} for line, problem in run.unscored],
        "cost": asdict(run.report.cost),
    }


def lines_of(report: Report, samples: Sequence[tuple[int, Sample]]) -> tuple[int, ...]:
    """The lines of the samples that a report has: one that was stopped lacks some.

    Args:
        report: on these samples.
        samples: with their lines, in order.
    """
    lines = {id(sample): line for line, sample in samples}
    return tuple(lines[id(each.sample)] for each in report.judged)


def axis_changes(before: AnswersRun, after: AnswersRun) -> tuple[AxisChange, ...]:
    """What has changed in each metric, on the questions that both have once."""
    old, new = ({each.sample.question: each.scores for each in run.report.judged} for run in (before, after))
    twice = {
        question
        for run in (before, after)
        for question, count in Counter(each.sample.question for each in run.report.judged).items()
        if count > 1
    }
    shared = [question for question in old if question in new and question not in twice]
    found = []
    for metric in METRICS:
        pairs = [(getattr(old[each], metric), getattr(new[each], metric)) for each in shared]
        both = [(first, second) for first, second in pairs if first is not None and second is not None]
        firsts, seconds = [first for first, _ in both], [second for _, second in both]
        apart = difference(np.array(firsts), np.array(seconds)) if len(both) > 1 else None
        before_mean, after_mean = (fmean(values) if values else None for values in (firsts, seconds))
        found.append(AxisChange(metric, before_mean, after_mean, len(both), apart))
    return tuple(found)


@lru_cache(maxsize=64)  # it remembers what it has read
def answers_runs(folder: Path) -> Runs[AnswersRun]:
    """The judged answers in a folder."""
    return Runs(folder, "answers", _write, _read)


_ADAPTER: TypeAdapter[AnswersRun] = TypeAdapter(AnswersRun)


def _write(run: AnswersRun) -> Any:
    return _ADAPTER.dump_python(run, mode="json")


def _read(data: Any) -> AnswersRun:
    run = _ADAPTER.validate_python(data)
    if len(run.lines) != len(run.report.judged) or not run.lines:
        raise ValueError(f"{len(run.lines)} lines and {len(run.report.judged)} judged answers do not fit together")
    return run
