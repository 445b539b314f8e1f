"""A pytest plugin: `pytest scenarios/` collects the YAML files below a folder named `scenarios` as tests.

The plugin is loaded in every run of pytest where Phireside is installed, so it imports nothing else before there is a
scenario, and leaves YAML alone that has no key `turns`, unless the file itself was named on the command line.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_SUFFIXES = (".yaml", ".yml")
_TURNS = re.compile(rb"""^["']?turns["']?\s*:|\A(?:\s|#.*\n|---)*\{(?:.*,)?\s*["']?turns["']?\s*:""", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    """pytest's hook: the options of `phireside run` that matter to a test."""
    group = parser.getgroup("scenarios", "scenarios of Phireside")
    group.addoption("--scenario-model", default="", help="The model of all scenarios; default: each one's own.")
    group.addoption("--scenario-seeds", type=int, default=None, help="How many runs each; default: each one's own.")
    group.addoption("--scenario-replay", default="", metavar="FOLDER", help="Play cassettes of this folder back.")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "ScenarioFile | None":
    """pytest's hook."""
    if file_path.suffix not in _SUFFIXES or file_path.name.endswith(".cassette.yaml"):
        return None
    named = file_path in [Path(each.partition("::")[0]).absolute() for each in parent.config.args]
    if named or ("scenarios" in file_path.parent.parts and _has_turns(file_path)):
        return ScenarioFile.from_parent(parent, path=file_path)
    return None


def _has_turns(path: Path) -> bool:
    try:
        return path.is_file() and _TURNS.search(path.read_bytes()) is not None
    except OSError:  # a link that leads nowhere: nobody asked for this file
        return False


class ScenarioFile(pytest.File):
    """A file with one scenario."""

    def collect(self) -> Iterator["ScenarioItem"]:
        """pytest's: reads the file."""
        from phireside.agents.scenarios.load import read_case
        from phireside.errors import PhiresideError

        try:
            case = read_case(self.path)
        except PhiresideError as error:
            raise self.CollectError(str(error)) from error
        yield ScenarioItem.from_parent(self, name=case.name, case=case)


class _FailedError(Exception):
    """A scenario did not pass; the message is what to show."""


class ScenarioItem(pytest.Item):
    """A scenario as a test. One that does not say that it passes on this model may fail."""

    def __init__(self, *, case: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case

    def runtest(self) -> None:
        """pytest's: runs it with all its seeds."""
        from phireside.agents.scenarios.report import headline, transcript
        from phireside.agents.scenarios.run import Options, run_cases
        from phireside.models import load_chat_model
        from phireside.settings import Settings

        settings, chosen = Settings(), self.config.getoption
        replay = chosen("--scenario-replay")
        options = Options(
            make_model=lambda name, **given: load_chat_model(name, settings, **given),
            model=chosen("--scenario-model"),
            default_model=settings.model,
            seeds=chosen("--scenario-seeds"),
            cassettes=Path(replay) if replay else None,
        )
        (outcome,) = run_cases([self.case], options)
        if outcome.passed:
            return
        text = "\n\n".join([headline(outcome), *(transcript(run) for run in outcome.runs if not run.passed)])
        if not outcome.expected:
            pytest.xfail(text)
        raise _FailedError(text)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """pytest's: the transcript in place of a traceback."""
        from phireside.errors import PhiresideError

        if isinstance(excinfo.value, _FailedError | PhiresideError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """pytest's."""
        return self.path, None, f"scenario: {self.name}"
