"""`phireside config show`: every setting with its value and where that comes from. Changes none."""

from dataclasses import asdict
from typing import Any

import typer

from phireside.cli.output import Json, examples, print_json, print_table, reporting_errors, tell
from phireside.paths import config_files
from phireside.settings import Settings
from phireside.settings_view import settings_rows

app = typer.Typer(help="The settings.", no_args_is_help=True)


@app.command(epilog=examples("phireside config show", "PHIRESIDE_PORT=9000 phireside config show --json"))
@reporting_errors()
def show(as_json: Json = False) -> None:
    """Show every setting, its value, and where that comes from: default, a variable, or a file.

    Passwords and keys are shown as stars. docs/settings.md explains the settings.
    """
    rows = settings_rows(Settings())
    if as_json:
        print_json([{**asdict(row), "variable": row.variable} for row in rows])
        return
    print_table(("Setting", "Value", "Source"), [(row.name, _text(row.value), row.source) for row in rows])
    tell(f"Files: {', '.join(str(file.absolute()) for file in config_files())}; a missing one is no fault.")


def _text(value: Any) -> str:
    """A value as phireside.toml would have it, but for the quotes."""
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
