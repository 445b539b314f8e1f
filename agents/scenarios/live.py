"""Scenarios at work, to be looked at while they run and kept when they have ended. Knows no page and no command."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from phireside.agents.scenarios.load import Case
from phireside.agents.scenarios.outcome import Line, Outcome, Run
from phireside.agents.scenarios.run import News, Options, StoppedError, outcome_of, run_cases
from phireside.agents.scenarios.runs import ScenarioRun
from phireside.agents.scenarios.schema import SCRIPTED
from phireside.models import Catalog
from phireside.models.load import is_remote


@dataclass(frozen=True)
class Watched:
    """One run of a scenario, as far as it has come.

    Attributes:
        name: of the scenario.
        seed: of the run.
        lines: what the agent did.
        run: what came of it; None = it has not ended.
    """

    name: str
    seed: int
    lines: tuple[Line, ...] = ()
    run: Run | None = None

    @property
    def state(self) -> str:
        """ "waiting", "running", "passed" or "failed"."""
        if self.run is not None:
            return "passed" if self.run.passed else "failed"
        return "running" if self.lines else "waiting"


class LiveRun:
    """Scenarios that are about to run.

    Args:
        cases: at least one.
        options: how; `watch` and `stop` are set here.
    """

    def __init__(self, cases: Sequence[Case], options: Options) -> None:
        self.cases = list(cases)
        self._stop, self._lock = threading.Event(), threading.Lock()
        self.options = replace(options, watch=self._watch, stop=self._stop)
        self._watched = {
            (case.name, seed): Watched(case.name, seed) for case in cases for seed in options.seeds_of(case.scenario)
        }

    def run(self) -> ScenarioRun:
        """Run them, and wait for that; of one that was stopped, the scenarios that had ended by then.

        Raises:
            PhiresideError: as `run_cases`.
            StoppedError: it was stopped before one had ended.
        """
        began = time.monotonic()
        try:
            outcomes = run_cases(self.cases, self.options)
            return self._kept(outcomes, began)
        except StoppedError:
            ended = {(each.name, each.seed): each.run for each in self.watched() if each.run is not None}
            whole = [
                case for case in self.cases
                if all((case.name, seed) in ended for seed in self.options.seeds_of(case.scenario))
            ]  # fmt: skip
            if not whole:
                raise
            return self._kept([outcome_of(case, ended, self.options) for case in whole], began)

    def stop(self) -> None:
        """End it at the next steps of what runs."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether it was stopped, and its last steps are awaited."""
        return self._stop.is_set()

    def watched(self) -> list[Watched]:
        """All runs as they are now."""
        with self._lock:
            return list(self._watched.values())

    def _kept(self, outcomes: Sequence[Outcome], began: float) -> ScenarioRun:
        ended = {each.name for each in outcomes}
        left = tuple(case.name for case in self.cases if case.name not in ended)
        return ScenarioRun(self.options.model, self.options.seeds, tuple(outcomes), time.monotonic() - began, left)

    def _watch(self, case: Case, seed: int, news: News) -> None:
        key = (case.name, seed)
        with self._lock:
            before = self._watched[key]
            if isinstance(news, Run):
                self._watched[key] = replace(before, run=news)
            else:
                self._watched[key] = replace(before, lines=(*before.lines, news))


def known_models(cases: Sequence[Case], options: Options, catalog: Catalog) -> Options:
    """The same options with what `auto` stands for now, so that it is said once and before anything runs.

    Raises:
        ModelError: a model is not here.
    """
    known = {name: _known(name, catalog) for name in {options.model_of(case.scenario) for case in cases}}
    model, default = options.model, options.default_model
    return replace(options, model=known.get(model, model), default_model=known.get(default, default))


def _known(name: str, catalog: Catalog) -> str:
    if name == SCRIPTED or is_remote(name):
        return name
    entry = catalog.resolve(name)
    return entry.name if name == "auto" else name
