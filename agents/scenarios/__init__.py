"""Scenarios: conversations with an agent, written in YAML, with what is expected of them.

`load` reads files, `run_cases` runs them on any chat model, several at once, and the reports say what came of it. The
command `phireside run` and the pytest plugin are thin edges over these. docs/scenarios.md explains the format.

Imported when first asked for: LangChain's agents take a while.
"""

from typing import TYPE_CHECKING

from phireside.lazy import lazy

if TYPE_CHECKING:
    from phireside.agents.scenarios.interval import wilson
    from phireside.agents.scenarios.load import Case, load
    from phireside.agents.scenarios.outcome import Check, Outcome, Run, TurnRecord
    from phireside.agents.scenarios.run import Options, run_cases
    from phireside.agents.scenarios.saved import as_scenario
    from phireside.agents.scenarios.schema import Scenario, editor_schema
else:
    __getattr__ = lazy(
        __name__,
        {
            "Case": "load",
            "Check": "outcome",
            "Options": "run",
            "Outcome": "outcome",
            "Run": "outcome",
            "Scenario": "schema",
            "TurnRecord": "outcome",
            "as_scenario": "saved",
            "editor_schema": "schema",
            "load": "load",
            "run_cases": "run",
            "wilson": "interval",
        },
    )


__all__ = [
    "Scenario", "editor_schema", "Case", "load",
    "Options", "run_cases", "Outcome", "Run", "TurnRecord", "Check", "wilson", "as_scenario",
]  # fmt: skip
