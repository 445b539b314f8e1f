"""All settings with their values and where each comes from, for a person to read. Changes none; shows no secret.

`phireside config show` prints them and the page Settings shows them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from phireside.paths import config_files
from phireside.settings import ENV_PREFIX, Settings, variable_of

__all__ = ["SettingRow", "settings_rows"]

DEFAULT, ARGUMENT = "default", "argument"
HIDDEN = "********"
_PASSWORD = re.compile(r"(?<=//)[^/?#]*@")  # http://name:password@server


@dataclass(frozen=True)
class SettingRow:
    """One setting.

    Args:
        name: with its table, e.g. "engine.n_ctx".
        value: as JSON has it; of a secret `HIDDEN` if it is set and "" if not.
        source: "default", "argument" (the program's own), the name of a variable of the environment, or a file's path.
        description: one sentence.
        secret: whether the value is a password, a key, or may hold one.
    """

    name: str
    value: Any
    source: str
    description: str
    secret: bool

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return ENV_PREFIX + self.name.replace(".", "__").upper()


def settings_rows(settings: Settings) -> list[SettingRow]:
    """Every setting, in the order of docs/settings.md; those of a table after each other.

    Raises:
        SettingsError: a `phireside.toml` or a variable can no longer be used; the message names it.
    """
    values, expected = settings.model_dump(mode="json"), Settings().model_dump(mode="json")
    sources = list(_sources())

    def source(path: tuple[str, ...]) -> str:
        if _at(values, path) != _at(expected, path):
            return ARGUMENT
        return next((name(path) for given, name in sources if _has(given, path)), DEFAULT)

    def row(path: tuple[str, ...], field: FieldInfo) -> SettingRow:
        secret = field.annotation is SecretStr or not field.repr
        value = _shown(_at(values, path), secret)
        return SettingRow(".".join(path), value, source(path), field.description or "", secret)

    return [row(path, field) for path, field in _fields(Settings)]


def _fields(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Each setting with its path; tables are gone into."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, (*above, name))
        else:
            yield (*above, name), field


def _sources() -> Iterator[tuple[Mapping[str, Any], Any]]:
    """What each source gives, strongest first, and a function from a setting's path to the source's name."""
    yield EnvSettingsSource(Settings)(), variable_of
    for file in reversed(config_files()):
        yield TomlConfigSettingsSource(Settings, toml_file=file)(), lambda _, file=file: str(file.absolute())


def _has(given: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(given, Mapping) or name not in given:
            return False
        given = given[name]
    return True


def _at(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for name in path:
        values = values[name]
    return values


def _shown(value: Any, secret: bool) -> Any:
    if secret:
        return HIDDEN if value else ""
    return _PASSWORD.sub("***@", value) if isinstance(value, str) else value
