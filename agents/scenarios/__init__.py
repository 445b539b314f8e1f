"""Scenarios: conversations with an agent, written in YAML, with what is expected of them.

`load` reads files, `run_cases` runs them on any chat model, several at once, and the reports say what came of it. The
command `phireside run` and the pytest plugin are thin edges over these. docs/scenarios.md explains the format.

Imported when first asked for: LangChain's agents take a while.
"""

from typing import TYPE_CHECKING

from phireside.lazy import lazy

if TYPE_CHECKING:
    from phireside.agents.scenarios.interval import wilson
    from phireside.agents.scenarios.live import LiveRun, Watched, known_models
    from phireside.agents.scenarios.load import SHIPPED, Case, add_file, listed, load
    from phireside.agents.scenarios.outcome import Check, Outcome, Run, TurnRecord
    from phireside.agents.scenarios.run import Options, StoppedError, run_cases
    from phireside.agents.scenarios.runs import Change, Comparison, ScenarioRun, compare, scenario_runs
    from phireside.agents.scenarios.saved import as_scenario
    from phireside.agents.scenarios.schema import Scenario, editor_schema
else:
    __getattr__ = lazy(
        __name__,
        {
            "Case": "load",
            "Change": "runs",
            "Check": "outcome",
            "Comparison": "runs",
            "LiveRun": "live",
            "Options": "run",
            "Outcome": "outcome",
            "Run": "outcome",
            "SHIPPED": "load",
            "Scenario": "schema",
            "ScenarioRun": "runs",
            "StoppedError": "run",
            "TurnRecord": "outcome",
            "Watched": "live",
            "add_file": "load",
            "as_scenario": "saved",
            "compare": "runs",
            "editor_schema": "schema",
            "known_models": "live",
            "listed": "load",
            "load": "load",
            "run_cases": "run",
            "scenario_runs": "runs",
            "wilson": "interval",
        },
    )


__all__ = [
    "Scenario", "editor_schema", "Case", "load", "listed", "add_file", "SHIPPED",
    "Options", "run_cases", "StoppedError", "Outcome", "Run", "TurnRecord", "Check", "wilson", "as_scenario",
    "LiveRun", "Watched", "known_models", "ScenarioRun", "scenario_runs", "Change", "Comparison", "compare",
]  # fmt: skip
