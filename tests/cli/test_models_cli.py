"""`phireside models …`: what it prints where, and with which exit code."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from hub import Hub
from typer.testing import CliRunner, Result

from phireside.cli import output
from phireside.cli.models import app
from phireside.errors import PhiresideError

PHI_3 = "microsoft/Phi-3-mini-4k-instruct-gguf/Phi-3-mini-4k-instruct-q4.gguf"


@pytest.fixture
def models_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models folder of a person without any model."""
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("phireside.models.catalog._STARTER_PACKAGE", "no_such_package_here")
    folder = tmp_path / "data" / "models"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def usual_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The hub, in place of Hugging Face."""
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    return hub


def run(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


def test_list_under_a_pipe_is_one_line_a_model(models_dir: Path, tiny_phi3: Path) -> None:
    shutil.copy(tiny_phi3, models_dir / "mine.gguf")
    (models_dir / "web.gguf").write_text("<html>")
    result = run("list")
    assert result.exit_code == 0
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == ["phi-3", "phi-3-fp16", "starter", "mine", "web"]
    assert rows[0][1:3] == ["not downloaded", "-"]
    assert rows[3][1:3] == ["on disk", "8.9 MB"]
    assert "web page" in rows[4][1]
    assert "auto, is now starter" in result.stderr
    assert "phireside models pull phi-3" in result.stderr


def test_list_says_when_phi_3_is_the_default(models_dir: Path, tiny_phi3: Path) -> None:
    shutil.copy(tiny_phi3, models_dir / "Phi-3-mini-4k-instruct-q4.gguf")
    assert "auto, is now phi-3." in run("list").stderr
    assert "pull" not in run("list").stderr


def test_list_as_json(models_dir: Path, tiny_phi3: Path) -> None:
    shutil.copy(tiny_phi3, models_dir / "mine.gguf")
    rows = json.loads(run("list", "--json").stdout)
    assert rows[0]["path"] is None
    assert (rows[3]["name"], rows[3]["path"], rows[3]["state"]) == ("mine", str(models_dir / "mine.gguf"), "on disk")


def test_list_on_a_terminal_is_a_table(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (models_dir / "[red]x.gguf").write_text("<html>")
    monkeypatch.setattr("phireside.cli.output.on_terminal", lambda stream: True)
    result = run("list")
    assert re.search(r"Name +State +Size +Description", result.stdout)
    assert "[red]x" in result.stdout


def test_a_file_name_cannot_steer_the_terminal(models_dir: Path) -> None:
    (models_dir / "\x1b[2J\u202ex.gguf").write_text("<html>")
    for result in (run("list"), run("path", "\x1b[2J\u202ex"), run("path", "\x1b[2J nothing")):
        assert "\x1b" not in result.output
        assert "\u202e" not in result.output


def test_path_checks_and_prints_the_path(models_dir: Path, tiny_phi3: Path) -> None:
    path = Path(shutil.copy(tiny_phi3, models_dir / "mine.gguf"))
    result = run("path", "mine")
    assert (result.exit_code, result.stdout) == (0, f"{path}\n")


def test_path_prints_any_name_byte_for_byte(models_dir: Path, tiny_phi3: Path) -> None:
    path = os.fsdecode(os.fsencode(models_dir) + b"/odd-\xff.gguf")
    shutil.copy(tiny_phi3, path)
    assert run("path", path).stdout_bytes == os.fsencode(path) + b"\n"


def test_a_damaged_model_ends_with_1_and_both_hashes(models_dir: Path, tiny_phi3: Path) -> None:
    path = Path(shutil.copy(tiny_phi3, models_dir / "mine.gguf"))
    run("path", "mine")
    path.write_bytes(tiny_phi3.read_bytes()[:-1])
    result = run("path", "mine")
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(re.findall("[0-9a-f]{64}", result.stderr)) == 2
    assert "Traceback" not in result.stderr


def test_accept(models_dir: Path, tiny_phi3: Path, tiny_chatml: Path) -> None:
    path = Path(shutil.copy(tiny_phi3, models_dir / "mine.gguf"))
    run("path", "mine")
    shutil.copy(tiny_chatml, path)
    assert run("path", "mine").exit_code == 1
    assert run("accept", str(path)).exit_code == 0
    assert run("path", "mine").exit_code == 0


def test_info(models_dir: Path, tiny_phi3: Path) -> None:
    result = run("info", str(tiny_phi3), "--n-ctx", "1024")
    assert result.exit_code == 0
    rows = dict(line.split("\t", 1) for line in result.stdout.splitlines())
    assert rows["Architecture"] == "phi3"
    assert rows["Trained context"] == "4,096 tokens"
    assert rows["Context"] == "1,024 tokens, cache of 4,096"
    assert rows["Chat template"].startswith("{{ bos_token }}")
    assert rows["Fits"].startswith("yes")


def test_info_says_before_a_download_what_it_takes(models_dir: Path) -> None:
    result = run("info", "phi-3")
    rows = dict(line.split("\t", 1) for line in result.stdout.splitlines())
    assert (result.exit_code, rows["Download"]) == (0, "phireside models pull phi-3")
    assert rows["File"] == "not on this machine; about 2.40 GB"
    assert re.match(r"(yes|NO): \d", rows["Fits"])
    data = json.loads(run("info", "phi-3", "--json", "--n-ctx", "1024").stdout)
    assert (data["path"], data["size"], data["memory"]["n_ctx"]) == (None, 2_400_000_000, 1024)
    assert data["memory"]["total"] > data["size"]
    assert run("info", "hf:a/b/c.gguf").exit_code == 1  # nobody knows


def test_info_as_json(models_dir: Path, tiny_phi3: Path) -> None:
    data = json.loads(run("info", str(tiny_phi3), "--json", "--n-gpu-layers", "0").stdout)
    assert (data["path"], data["layers"], data["memory"]["gpu"]) == (str(tiny_phi3), 1, 0)
    assert data["memory"]["total"] == sum(data["memory"][part] for part in ("weights", "kv_cache", "compute"))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("info", "--n-ctx", "-1"), "n_ctx"),
        (("info", "nothing"), "Did you mean"),
        (("path",), "pip install"),
        (("accept", "/no/such.gguf"), "no file"),
        (("pull", "starter"), "cannot be pulled"),
    ],
)
def test_an_error_is_a_message_with_a_hint_on_stderr(models_dir: Path, args: tuple[str, ...], words: str) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert words in result.stderr


def test_pull_shows_progress_and_prints_the_path(models_dir: Path, usual_hub: Hub, tiny_phi3: Path) -> None:
    usual_hub.body = tiny_phi3.read_bytes()
    result = run("pull", "phi-3")
    assert (result.exit_code, result.stdout) == (0, f"{models_dir / PHI_3}\n")
    assert "8.9 MB of 8.9 MB" in result.stderr
    assert len(result.stderr.splitlines()) <= 13  # a line at each tenth
    assert run("pull", "phi-3").stdout == f"{models_dir / PHI_3}\n"


def test_pull_on_a_terminal_shows_a_bar(
    models_dir: Path, usual_hub: Hub, tiny_phi3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual_hub.body = tiny_phi3.read_bytes()
    monkeypatch.setattr("phireside.cli.models.on_terminal", lambda stream: True)
    assert "8.9/8.9 MB" in run("pull", "phi-3").stderr


def test_pull_without_a_network_says_how_to_bring_the_file(models_dir: Path, usual_hub: Hub) -> None:
    usual_hub.status = 503
    result = run("pull")
    assert result.exit_code == 1
    assert f"{usual_hub.url}/{PHI_3.replace('gguf/', 'gguf/resolve/main/')}" in result.stderr
    assert str((models_dir / PHI_3).parent) in result.stderr


def test_ctrl_c_keeps_the_part_and_says_so(tmp_path: Path, hub: Hub, tiny_phi3: Path) -> None:
    hub.body = tiny_phi3.read_bytes()
    hub.stalls_after = 5_000_000
    code = "from phireside.cli.models import app; app()"
    env = {
        **os.environ,
        "PHIRESIDE_DATA_DIR": str(tmp_path),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", code, "pull", "phi-3"], env=env, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    seen = ""
    while "4.5 MB" not in seen:  # the tenth before it stalls
        line = process.stderr.readline()
        assert line, seen
        seen += line
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped. 5.0 MB are kept; `phireside models pull phi-3` goes on" in errors
    assert "Traceback" not in errors


def test_errors_are_reported_once_and_others_pass_through() -> None:
    with pytest.raises(typer.Exit) as caught, output.reporting_errors():
        raise PhiresideError("broken")
    assert caught.value.exit_code == 1
    with pytest.raises(ZeroDivisionError), output.reporting_errors():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("count", "text"), [(None, "-"), (0, "0.0 MB"), (98_362_432, "98.4 MB"), (2_393_231_072, "2.39 GB")]
)
def test_sizes_are_readable(count: int | None, text: str) -> None:
    assert output.size_text(count) == text
