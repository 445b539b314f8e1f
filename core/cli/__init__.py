"""The command line: one file per group of commands, each importing what it needs only when it runs."""

import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated

import typer

from phireside import __version__
from phireside.cli import (
    approve,
    ask,
    bench,
    chat,
    config,
    doctor,
    eval,
    index,
    mcp,
    models,
    run,
    search,
    serve,
    ui,
)
from phireside.cli.output import FAILED, examples, finish, reporting_errors, tell

__all__ = ["app", "main"]

TALK, DOCUMENTS, MEASURE, MACHINE = "Talk", "Documents", "Try and measure", "This machine"

_SERVE = examples("phireside serve", "PHIRESIDE_API_KEY=… phireside serve --host 0.0.0.0 --port 8000 --model phi-3")

app = typer.Typer(
    name="phireside",
    help="A small language model on your own machine, made dependable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=examples(
        "phireside ui",
        'phireside ask "Why is the sky blue?"',
        "phireside index ~/letters --base letters",
        'phireside ask "When does the lease end?" --base letters',
    ),
)
app.command("chat", rich_help_panel=TALK, epilog=chat.EXAMPLES)(chat.chat)
app.command("ask", rich_help_panel=TALK, epilog=ask.EXAMPLES)(ask.ask)
app.command("ui", rich_help_panel=TALK, epilog=ui.EXAMPLES)(ui.ui)
app.command("serve", rich_help_panel=TALK, epilog=_SERVE)(serve.serve)
app.command("mcp", rich_help_panel=TALK, epilog=mcp.EXAMPLES)(mcp.mcp)
app.command("index", rich_help_panel=DOCUMENTS, epilog=index.EXAMPLES)(index.index)
app.command("search", rich_help_panel=DOCUMENTS, epilog=search.EXAMPLES)(search.search)
app.command("run", rich_help_panel=MEASURE, epilog=run.EXAMPLES)(run.run)
app.command("approve", rich_help_panel=MEASURE, epilog=approve.EXAMPLES)(approve.approve)
app.add_typer(eval.app, name="eval", rich_help_panel=MEASURE)
app.command("bench", rich_help_panel=MEASURE, epilog=bench.EXAMPLES)(bench.bench)
app.add_typer(models.app, name="models", rich_help_panel=MACHINE)
app.add_typer(config.app, name="config", rich_help_panel=MACHINE)
app.command("doctor", rich_help_panel=MACHINE, epilog=doctor.EXAMPLES)(doctor.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"phireside {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """The console script `phireside`."""
    _prepare_streams()
    try:
        with reporting_errors():
            app()
    except typer.Exit as error:  # from here, where typer does not see it
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 (a fault of ours: the person gets a message, and we the traceback)
        tell(f"Error: {type(error).__name__}: {error}")
        tell(f"Phireside did not foresee this. Please report it, with {_kept_traceback()}.")
        sys.exit(FAILED)
    finally:
        if code := finish():
            sys.exit(code)


def _prepare_streams() -> None:
    """A character that cannot be read or shown must not end an answer; nor must a stream that was closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # opened at once, so that no file of ours gets its number
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (open until the end)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _kept_traceback() -> str:
    """The file in which the traceback of the exception at hand was put, or else its last lines."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="phireside-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            traceback.print_exc(file=file)
    except OSError:
        return traceback.format_exc(limit=-2)
    return file.name
