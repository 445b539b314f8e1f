"""`phireside run`: scenarios from YAML files, with reports. Knows no more of agents than `phireside.agents.scenarios`.

Results go to stdout; progress goes to stderr, and only to a terminal.
"""

import errno
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phireside.cli.complete import model_names
from phireside.cli.output import (
    STOPPED,
    Json,
    examples,
    in_colour,
    on_terminal,
    plain,
    print_json,
    reporting_errors,
    tell,
)
from phireside.errors import RequestError, SettingsError
from phireside.settings import Settings

if TYPE_CHECKING:
    from phireside.agents.scenarios import Case, Options, Outcome
    from phireside.agents.scenarios.run import News, Watch

EXAMPLES = examples(
    "phireside run scenarios --model scripted",
    "phireside run scenarios/multiplication.yaml --json",
    "phireside run scenarios --junit report.xml --html report.html",
)
_FAILED = re.compile(r"^(?:FAILED |NOT met:|broke:).*$", re.MULTILINE)
_NAME_WIDTH, _NEWS_WIDTH = 40, 60


@reporting_errors()
def run(
    paths: Annotated[list[Path] | None, typer.Argument(help="Scenario files, or folders of them.")] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="The model of all; scripted: none. Default: their own.", autocompletion=model_names
        ),
    ] = "",
    seeds: Annotated[int | None, typer.Option(min=1, help="How many runs of each scenario.")] = None,
    as_json: Json = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page to this file.")] = None,
    record: Annotated[Path | None, typer.Option(help="Keep what models and tools answer in this folder.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Answer from what is kept there; no model is needed.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema for editors; run nothing.")] = False,
) -> None:
    """Run scenarios: scripted conversations with an agent, and what is expected of it. Exit code 1 if one failed.

    Several run at once on one engine. docs/scenarios.md explains the files.
    """
    from phireside.agents.scenarios import editor_schema, load  # LangChain's agents: not for --help

    if schema:
        print_json(editor_schema())
        return
    if record and replay:
        raise RequestError("--record and --replay exclude each other.", hint="Record first, then replay.")
    cases = load(paths or [])
    for path in (junit, html):
        if path:
            _check_writable(path)  # what cannot be written is told before the scenarios run
    with _progress([case.name for case in cases]) as watch:
        outcomes = _outcomes(cases, _options(model, seeds, record, replay, watch))
    _report(outcomes, as_json, junit, html)
    if not all(each.passed for each in outcomes):
        raise typer.Exit(1)


def _options(model: str, seeds: int | None, record: Path | None, replay: Path | None, watch: "Watch") -> "Options":
    from phireside.agents.scenarios import Options
    from phireside.models import load_chat_model

    settings = Settings()
    return Options(
        lambda name, **given: load_chat_model(name, settings, **given),
        model=model,
        default_model=settings.model,
        seeds=seeds,
        cassettes=record or replay,
        tape="record" if record else "replay",
        approvals=settings.mcp_approvals,
        watch=watch,
    )


def _outcomes(cases: Sequence["Case"], options: "Options") -> list["Outcome"]:
    from phireside.agents.scenarios import known_models, run_cases
    from phireside.models import Catalog

    if not options.replays:  # what is missing is told once, and before anything runs
        options = known_models(cases, options, Catalog(Settings()))
    try:
        return run_cases(cases, options)
    except KeyboardInterrupt:
        tell("Stopped.")
        raise typer.Exit(STOPPED) from None


def _report(outcomes: Sequence["Outcome"], as_json: bool, junit: Path | None, html: Path | None) -> None:
    """Print the results, and write the files."""
    from phireside.agents.scenarios import report

    if as_json:
        print_json(report.as_data(outcomes))
    else:
        print(_coloured(plain(report.as_text(outcomes))))
    if junit:
        _write(junit, report.as_junit(outcomes))
    if html:
        _write(html, report.as_html(outcomes))


def _coloured(text: str) -> str:
    """What failed in red, on a terminal."""
    return _FAILED.sub(lambda found: typer.style(found[0], fg="red"), text) if in_colour(sys.stdout) else text


def _check_writable(path: Path) -> None:
    with _errors_of(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        part = _part(path)
        part.open("a").close()
        if part != path:
            part.unlink()


def _write(path: Path, text: str) -> None:
    """Write a report. It is there when it is whole: a run that was stopped leaves the one before."""
    with _errors_of(path):
        part = _part(path)
        part.write_text(text, encoding="utf-8")
        if part != path:
            part.replace(path)


def _part(path: Path) -> Path:
    """Where to write what is to become a file; /dev/stdout and links stay what they are."""
    stays = path.is_symlink() or (path.exists() and not path.is_file())
    return path if stays else path.with_name(f"{path.name}.part")


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}.", hint="Name another file.") from error


@contextmanager
def _progress(names: Sequence[str]) -> Iterator["Watch"]:
    """What happens, in a line for each scenario, on a terminal; nothing elsewhere."""
    if not on_terminal(sys.stderr):
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[news]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as lines:
        tasks: dict[str, Any] = {
            name: lines.add_task(_short(name, _NAME_WIDTH), total=1, news="waits") for name in names
        }

        def watch(case: "Case", seed: int, news: "News") -> None:
            lines.update(tasks[case.name], news=f"seed {seed}: {_short(_told(news), _NEWS_WIDTH)}")

        yield watch


def _told(news: "News") -> str:
    from phireside.agents.scenarios.outcome import Run
    from phireside.agents.scenarios.report import line_text

    return ("passed" if news.passed else "FAILED") if isinstance(news, Run) else line_text(news)


def _short(text: str, width: int) -> str:
    text = plain(" ".join(text.split()))
    return text if len(text) <= width else text[: width - 1] + "…"
