"""`phireside config show`: what is set, and from where."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from phireside.cli import app


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def show(*args: str) -> Result:
    return CliRunner().invoke(app, ["config", "show", *args])


def test_under_a_pipe_each_setting_is_a_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "phireside.toml").write_text('model = "phi-3"\n')
    monkeypatch.setenv("PHIRESIDE_OPENAI_API_KEY", "hunter2")
    result = show()
    assert result.exit_code == 0, result.output
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in result.stdout.splitlines()}
    assert rows["model"] == ["phi-3", str(folder / "phireside.toml")]
    assert rows["data_dir"] == [str(folder / "data"), "PHIRESIDE_DATA_DIR"]
    assert rows["engine.use_mmap"] == ["true", "default"]
    assert rows["openai_api_key"] == ["********", "PHIRESIDE_OPENAI_API_KEY"]
    assert rows["tools.mcp_file"] == ["", "default"]
    assert "hunter2" not in result.output
    assert "phireside.toml" in result.stderr


def test_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHIRESIDE_ENGINE__N_CTX", "512")
    row = next(each for each in json.loads(show("--json").stdout) if each["name"] == "engine.n_ctx")
    assert (row["value"], row["source"], row["secret"]) == (512, "PHIRESIDE_ENGINE__N_CTX", False)
    assert (row["variable"], row["description"][:6]) == ("PHIRESIDE_ENGINE__N_CTX", "Tokens")


def test_settings_that_cannot_be_read_are_told(folder: Path) -> None:
    (folder / "phireside.toml").write_text("model = \n")
    result = show("--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "phireside.toml cannot be read" in result.stderr
