"""Each setting is told with its value and its source, and no secret is."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from phireside.errors import SettingsError
from phireside.settings import Settings
from phireside.settings_view import HIDDEN, SettingRow, settings_rows


@pytest.fixture
def files(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The person's file and that of the working directory; neither is there yet."""
    found = tmp_path / "home.toml", tmp_path / "here.toml"
    for module in ("settings", "settings_view"):
        monkeypatch.setattr(f"phireside.{module}.config_files", lambda: list(found))
    return found


def row(name: str, **given: object) -> SettingRow:
    return next(each for each in settings_rows(Settings(**given)) if each.name == name)


def names(model: type[BaseModel], before: str = "") -> list[str]:
    found: list[str] = []
    for name, field in model.model_fields.items():
        table = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        found += names(field.annotation, f"{before}{name}.") if table else [before + name]  # type: ignore[arg-type]
    return found


def test_every_setting_is_there_once_and_json_can_hold_it(files: tuple[Path, Path]) -> None:
    rows = settings_rows(Settings())
    assert [each.name for each in rows] == names(Settings)
    assert {each.source for each in rows} == {"default"}
    assert json.loads(json.dumps([each.value for each in rows]))


def test_the_strongest_source_that_has_a_value_is_told(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = files
    home.write_text('model = "a"\nmemory = "window"\n[engine]\nn_batch = 8\n')
    here.write_text('model = "b"\n')
    assert (row("model").value, row("model").source) == ("b", str(here))
    assert (row("memory").source, row("engine.n_batch").source) == (str(home), str(home))
    monkeypatch.setenv("phireside_model", "c")
    monkeypatch.setenv("PHIRESIDE_ENGINE", '{"n_ctx": 64}')
    monkeypatch.setenv("PHIRESIDE_ENGINE__N_THREADS", "2")
    monkeypatch.setenv("PHIRESIDE_MEMORY", "")  # an empty one counts as not set
    assert (row("model").value, row("model").source) == ("c", "phireside_model")
    assert row("engine.n_ctx").source == "PHIRESIDE_ENGINE"
    assert (row("engine.n_threads").value, row("engine.n_threads").source) == (2, "PHIRESIDE_ENGINE__N_THREADS")
    assert row("memory").source == str(home)
    assert row("engine.n_batch").source == str(home)
    assert (row("model", model="d").value, row("model", model="d").source) == ("d", "argument")


def test_the_variable_of_a_row_sets_it(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(row("engine.n_ctx").variable, "77")
    assert row("engine.n_ctx").value == 77


def test_no_secret_is_shown(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert (row("openai_api_key").value, row("openai_api_key").secret) == ("", True)
    monkeypatch.setenv("PHIRESIDE_OPENAI_API_KEY", "hunter2")
    monkeypatch.setenv("PHIRESIDE_DATABASE_URL", "postgresql://me:hunter2@db/x?password=hunter2")
    monkeypatch.setenv("PHIRESIDE_OPENAI_BASE_URL", "http://me:hunter2@server:8080/v1")
    rows = settings_rows(Settings())
    assert "hunter2" not in repr(rows)
    assert [each.name for each in rows if each.value == HIDDEN] == ["database_url", "openai_api_key"]
    assert row("openai_base_url").value == "http://***@server:8080/v1"


def test_a_file_that_broke_meanwhile_is_named(files: tuple[Path, Path]) -> None:
    settings = Settings()
    files[0].write_text("model = ")
    with pytest.raises(SettingsError, match=r"home\.toml cannot be read"):
        settings_rows(settings)
