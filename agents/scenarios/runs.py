"""Runs of scenarios that are kept, and what has changed from one to another. Knows no page and no command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from phireside.agents.scenarios.outcome import Outcome, Run
from phireside.runs import Runs

Verdict = Literal["better", "worse", "same", "new", "gone"]


@dataclass(frozen=True)
class ScenarioRun:
    """Scenarios that were run together.

    Attributes:
        model: that was asked for; empty = each scenario's own.
        seeds: how many runs of each; None = each scenario's own.
        outcomes: what came of them.
        seconds: they took.
        left: names of those that had not ended when it was stopped.
    """

    model: str
    seeds: int | None
    outcomes: tuple[Outcome, ...]
    seconds: float
    left: tuple[str, ...] = ()

    @property
    def passed(self) -> int:
        """How many scenarios passed."""
        return sum(each.passed for each in self.outcomes)

    @property
    def failing(self) -> tuple[Outcome, ...]:
        """Those that did not."""
        return tuple(each for each in self.outcomes if not each.passed)


@dataclass(frozen=True)
class Change:
    """A scenario in two runs.

    Attributes:
        name: of the scenario.
        before, after: what came of it; None = it was not run.
    """

    name: str
    before: Outcome | None
    after: Outcome | None

    @property
    def verdict(self) -> Verdict:
        """Better or worse by the share of runs that passed, and if that is the same by the score."""
        if self.before is None or self.after is None:
            return "new" if self.before is None else "gone"
        old, new = _worth(self.before), _worth(self.after)
        return "same" if old == new else "better" if new > old else "worse"


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes:
        changes: of each scenario, those that differ first.
        pairs: runs of the same scenario with the same seed on both sides.
        gained: pairs of which only the second passed.
        lost: pairs of which only the first did.
    """

    changes: tuple[Change, ...]
    pairs: int
    gained: int
    lost: int

    @property
    def p(self) -> float:
        """Two-sided p of McNemar's exact test: how probable such a difference is by chance. 1 if no pair differs."""
        differing = self.gained + self.lost
        tail = sum(comb(differing, count) for count in range(min(self.gained, self.lost) + 1))
        return min(1.0, 2 * tail / float(2**differing))


def compare(before: ScenarioRun, after: ScenarioRun) -> Comparison:
    """What has changed. (McNemar 1947, "Note on the sampling error of the difference between correlated proportions".)

    Args:
        before: the earlier run.
        after: the later one.
    """
    old, new = ({each.name: each for each in run.outcomes} for run in (before, after))
    changes = [Change(name, old.get(name), new.get(name)) for name in {**new, **old}]
    pairs = [
        (one.passed, other.passed)
        for change in changes
        for seed, one in _by_seed(change.before).items()
        if (other := _by_seed(change.after).get(seed)) is not None
    ]
    order = ("worse", "better", "new", "gone", "same")
    return Comparison(
        tuple(sorted(changes, key=lambda change: order.index(change.verdict))),
        len(pairs),
        sum(second and not first for first, second in pairs),
        sum(first and not second for first, second in pairs),
    )


@lru_cache(maxsize=64)  # it remembers what it has read
def scenario_runs(folder: Path) -> Runs[ScenarioRun]:
    """The runs of scenarios in a folder."""
    return Runs(folder, "scenarios", _write, _read)


_ADAPTER: TypeAdapter[ScenarioRun] = TypeAdapter(ScenarioRun)


def _write(run: ScenarioRun) -> Any:
    return _ADAPTER.dump_python(run, mode="json", fallback=str)


def _read(data: Any) -> ScenarioRun:
    run = _ADAPTER.validate_python(data)
    if not all(each.runs for each in run.outcomes):
        raise ValueError("a scenario has no runs")
    return run


def _worth(outcome: Outcome) -> tuple[float, float]:
    return outcome.passed_runs / len(outcome.runs), round(outcome.score, 9)


def _by_seed(outcome: Outcome | None) -> Mapping[int, Run]:
    runs: Sequence[Run] = outcome.runs if outcome else ()
    return {run.seed: run for run in runs}
