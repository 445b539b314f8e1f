"""What came of scenarios: the checks of a run, its turns, and how sure the share of passed runs is. Only data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phireside.agents.scenarios.interval import wilson
from phireside.agents.scenarios.toolbox import Ran
from phireside.chains import Cost


@dataclass(frozen=True)
class Line:
    """A line of a transcript.

    Attributes:
        kind: "thought", "action", "observation", "answer" or "approval".
        text: what was said.
        tool: whose action or observation it is.
        arguments: of an action.
    """

    kind: str
    text: str
    tool: str = ""
    arguments: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class TurnRecord:
    """A turn that was run.

    Attributes:
        user: what the person said.
        lines: what the agent did.
        ran: calls of tools that ran (a refused one did not).
        answer: empty if there was none.
        cost: of all calls of the model, also those of the memory.
        seconds: it took.
    """

    user: str
    lines: Sequence[Line]
    ran: Sequence[Ran]
    answer: str
    cost: Cost
    seconds: float

    @property
    def steps(self) -> int:
        """How often the agent asked the model: for actions, of which several may come at once, or for an answer."""
        kinds = [line.kind for line in self.lines if line.kind != "thought"]
        before = ["", *kinds]
        return sum(k == "answer" or (k == "action" and b != "action") for b, k in zip(before, kinds, strict=False))


@dataclass(frozen=True)
class Check:
    """An expectation and what came of it.

    Attributes:
        where: "turn 1", or "all turns".
        label: the expectation as it was written.
        met: None if it could not be measured (see `reason`); it then counts for nothing.
        weight: in the score.
        reason: what was found, or why it was not measured.
    """

    where: str
    label: str
    met: bool | None
    weight: float
    reason: str


@dataclass(frozen=True)
class Run:
    """A scenario, run once.

    Attributes:
        seed: of the model.
        turns: those that were run.
        checks: of all expectations; none if the run broke.
        threshold: the score at which it passes.
        error: why the run broke; empty if it did not.
    """

    seed: int
    turns: Sequence[TurnRecord]
    checks: Sequence[Check]
    threshold: float
    error: str = ""

    @property
    def score(self) -> float:
        """The weighted share of expectations that were met, 0 to 1; 1 if nothing was expected."""
        if self.error:
            return 0.0
        measured = [check for check in self.checks if check.met is not None]
        total = sum(check.weight for check in measured)
        return sum(check.weight for check in measured if check.met) / total if total else 1.0

    @property
    def passed(self) -> bool:
        """Whether the score is enough."""
        return not self.error and self.score >= self.threshold - 1e-9

    @property
    def steps(self) -> int:
        """How often the agent asked the model."""
        return sum(turn.steps for turn in self.turns)

    @property
    def seconds(self) -> float:
        """Of all turns."""
        return sum(turn.seconds for turn in self.turns)


@dataclass(frozen=True)
class Outcome:
    """A scenario with all its runs.

    Attributes:
        name: of the scenario.
        path: of its file.
        model: it ran on.
        expected: whether the scenario says that it passes on this model.
        pass_rate: the share of runs that must pass.
        runs: one for each seed.
    """

    name: str
    path: Path
    model: str
    expected: bool
    pass_rate: float
    runs: Sequence[Run]

    @property
    def passed_runs(self) -> int:
        """How many runs passed."""
        return sum(run.passed for run in self.runs)

    @property
    def passed(self) -> bool:
        """Whether enough did."""
        return self.passed_runs >= self.pass_rate * len(self.runs) - 1e-9

    @property
    def score(self) -> float:
        """Of all runs, on average."""
        return sum(run.score for run in self.runs) / len(self.runs)

    @property
    def steps(self) -> int:
        """Steps of the run that had most."""
        return max(run.steps for run in self.runs)

    @property
    def interval(self) -> tuple[float, float]:
        """Where the share of passed runs lies with 95 % confidence (Wilson)."""
        return wilson(self.passed_runs, len(self.runs))
