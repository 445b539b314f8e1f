"""Scenarios at work for their page: begun here, and kept when they have ended. Does not import Streamlit."""

from collections.abc import Sequence
from pathlib import Path

from phireside.agents.scenarios import (
    SHIPPED,
    Case,
    LiveRun,
    Options,
    ScenarioRun,
    StoppedError,
    known_models,
    scenario_runs,
)
from phireside.errors import RequestError
from phireside.models import Catalog
from phireside.runs import Runs
from phireside.settings import Settings
from phireside.ui import background
from phireside.ui.measuring import begin, current, maker

KIND = "scenarios"


class ScenarioWork(background.Work):
    """Scenarios that run; `live` has what happens. Its result is the id of the run that was kept.

    Args:
        live: about to run.
        kept: where it is kept.
    """

    def __init__(self, live: LiveRun, kept: Runs[ScenarioRun]) -> None:
        self.live = live
        super().__init__("Running scenarios", lambda _: _run(live, kept))

    def stop(self) -> None:
        """End it at the next steps of what runs; scenarios that have ended by then are kept."""
        self.live.stop()
        super().stop()


def folders(settings: Settings) -> list[Path]:
    """Where scenarios are looked for: the shipped ones, then the person's own."""
    return [SHIPPED, settings.scenarios_dir]


def runs(settings: Settings) -> Runs[ScenarioRun]:
    """The runs that are kept."""
    return scenario_runs(settings.runs_dir)


def work(settings: Settings) -> ScenarioWork | None:
    """What was begun last."""
    found = current(settings, KIND)
    return found if isinstance(found, ScenarioWork) else None


def begin_scenarios(
    settings: Settings,
    catalog: Catalog,
    cases: Sequence[Case],
    model: str,
    seeds: int | None,
    kept: Runs[ScenarioRun],
) -> ScenarioWork:
    """Run scenarios.

    Args:
        settings: whose model is taken where none is named.
        catalog: of models.
        cases: at least one.
        model: of all; empty = each scenario's own.
        seeds: how many runs of each; None = each scenario's own.
        kept: where the run is kept.

    Raises:
        RequestError: there is no scenario.
        ModelError: a model is not here.
        TurnRunningError: some run already.
    """
    if not cases:
        raise RequestError("No scenario is chosen.", hint="Choose one or more of the list.")
    options = Options(
        maker(settings),
        model=model,
        default_model=settings.model,
        seeds=seeds,
        approvals=settings.mcp_approvals,
    )
    live = LiveRun(cases, known_models(cases, options, catalog))
    return begin(settings, KIND, lambda: ScenarioWork(live, kept))


def _run(live: LiveRun, kept: Runs[ScenarioRun]) -> str:
    try:
        done = live.run()
    except StoppedError:
        raise background.StoppedError from None
    models = sorted({outcome.model for outcome in done.outcomes})
    return kept.save(f"{_counted(len(done.outcomes), 'scenario')} on {', '.join(models)}", done).id


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
