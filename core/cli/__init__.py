"""The command line: one file per group of commands, each importing what it needs only when it runs."""

import sys
from typing import Annotated

import typer

from phireside import __version__
from phireside.cli import approve, chat, doctor, eval, index, models, run, search, ui

__all__ = ["app", "main"]

app = typer.Typer(
    name="phireside",
    help="A small language model on your own machine, made dependable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Start with `phireside ui` in the browser, or `phireside chat` here.",
)
app.command("chat")(chat.chat)
app.command("ui")(ui.ui)
app.command("run")(run.run)
app.command("approve")(approve.approve)
app.command("index")(index.index)
app.command("search")(search.search)
app.command("doctor")(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(eval.app, name="eval")


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
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a character that cannot be read or shown must not end an answer
    app()
