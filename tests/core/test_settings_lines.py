"""The lines that the settings page offers: written to a file, or put into the environment, they do what they say."""

import os
import shlex
from pathlib import Path

import pytest

from phireside import settings_lines as module
from phireside.errors import PhiresideError, SettingsError
from phireside.settings import Settings
from phireside.settings_lines import lines_for
from phireside.settings_view import SettingRow, settings_rows

VALUES = {
    "model": 'a "quoted" \\ name',
    "system_prompt": "Zwei Wörter.",
    "engine.n_ctx": "2048",
    "engine.use_mmap": "false",
    "engine.idle_unload_s": "1.5",
    "engine.type_k": "q8_0",
    "data_dir": "/tmp/some where",
    "tools.folders": '["/tmp/a", "/tmp/b"]',
    "tools.mcp_file": "/tmp/mcp.json",
    "port": "9000",
}


@pytest.fixture
def rows(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, SettingRow]:
    monkeypatch.setattr(module, "config_files", lambda: [tmp_path / "phireside.toml"])
    return {row.name: row for row in settings_rows(settings)}


def value_of(settings: Settings, name: str) -> object:
    found: object = settings.model_dump(mode="json")
    for part in name.split("."):
        assert isinstance(found, dict)
        found = found[part]
    return found


@pytest.mark.parametrize("name", VALUES)
def test_a_line_gives_the_setting_its_value(
    rows: dict[str, SettingRow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lines = lines_for(rows[name], VALUES[name])
    lines.file.write_text(lines.toml, "utf-8")
    monkeypatch.setattr("phireside.settings.config_files", lambda: [lines.file])
    by_file = value_of(Settings(), name)
    assert str(by_file) != str(rows[name].value)
    monkeypatch.setattr("phireside.settings.config_files", list)
    variable, _, text = shlex.split(lines.variable)[0].partition("=")
    monkeypatch.setitem(os.environ, variable, text)
    assert value_of(Settings(), name) == by_file


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("engine.n_ctx", "-1", "greater than or equal"),
        ("engine.n_ctx", "many", "valid integer"),
        ("engine.n_ctx", " ", "needs a value"),
        ("engine.type_k", "q9", "q8_0"),
        ("port", "[" * 5000, "valid integer"),
        ("tools.folders", "/tmp", "tuple"),
    ],
)
def test_a_value_that_cannot_be_is_said(rows: dict[str, SettingRow], name: str, text: str, said: str) -> None:
    with pytest.raises(PhiresideError, match=said):
        lines_for(rows[name], text)


def test_a_secret_is_not_repeated(rows: dict[str, SettingRow]) -> None:
    for name in ("openai_api_key", "database_url"):
        lines = lines_for(rows[name], "hunter2")
        assert "hunter2" not in lines.toml + lines.variable
        assert lines.toml == f'{name} = "…"'


def test_a_strange_number_is_toml_too(rows: dict[str, SettingRow], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_for(rows["engine.idle_unload_s"], "Infinity")
    lines.file.write_text(lines.toml)
    monkeypatch.setattr("phireside.settings.config_files", lambda: [lines.file])
    assert Settings().engine.idle_unload_s == float("inf")
    with pytest.raises(SettingsError):
        lines_for(rows["engine.idle_unload_s"], "NaN")
