"""The lines that set a setting: for phireside.toml, and for the environment. Writes no file.

Settings are read once, when a program starts, so a running one can only say what to write.
"""

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phireside.errors import RequestError
from phireside.paths import config_files
from phireside.settings import Settings
from phireside.settings_view import SettingRow
from phireside.text import clean_text

_UNSEEN = "…"


@dataclass(frozen=True)
class Lines:
    """What to write where.

    Attributes:
        file: the person's phireside.toml; it may not be there yet.
        toml: the lines for it.
        variable: the line for a shell.
    """

    file: Path
    toml: str
    variable: str


def lines_for(row: SettingRow, text: str) -> Lines:
    """The lines that give a setting a value.

    Args:
        row: the setting.
        text: the value as a person types it; a list as in JSON. Of a secret it is not looked at.

    Raises:
        SettingsError: it cannot have this value; the message says why.
        RequestError: nothing was typed for a setting that is no text.
    """
    value = _UNSEEN if row.secret else _checked(row, clean_text(text).strip())
    table, _, name = row.name.rpartition(".")
    head = f"[{table}]\n" if table else ""
    shown = value if isinstance(value, str) else json.dumps(value)
    return Lines(config_files()[0], f"{head}{name} = {_toml(value)}", f"{row.variable}={shlex.quote(shown)}")


def _checked(row: SettingRow, text: str) -> Any:
    """The value as JSON has it, once the settings have taken it."""
    value: Any = text
    if not isinstance(row.value, str):
        if not text:
            raise RequestError(f"{row.name} needs a value.", hint="Type one.")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
    *tables, name = row.name.split(".")
    given: dict[str, Any] = {name: value}
    for table in reversed(tables):
        given = {table: given}
    found: Any = Settings(**given).model_dump(mode="json")
    for part in row.name.split("."):
        found = found[part]
    return found


def _toml(value: Any) -> str:
    """A text, a number, a truth value or a list of texts: as in JSON, but for infinity and one control character."""
    if value == math.inf:
        return "inf"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
