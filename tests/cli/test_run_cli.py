"""`phireside run`: exit codes, what stands where, and errors before anything runs."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from typer.testing import CliRunner, Result

from phireside.agents import scenarios
from phireside.cli import app

GOOD = 'turns: [{user: Hi, expect: [{contains: hello}], script: [{answer: "Hello\\e[31m you"}]}]\n'
ASKS = """
system: You are a helpful assistant.
turns: [{user: "What is the capital of France?", expect: [{contains: Paris}]}]
"""
BAD = GOOD.replace("contains: hello", "contains: bye")


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["run", *args])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD)
    return tmp_path


def test_all_passed_is_exit_code_0_and_one_line_each(folder: Path) -> None:
    result = run("good.yaml", "--model", "scripted")
    assert result.exit_code == 0, result.output
    assert result.stdout == "passed  good (scripted): score 1.00, 1 step\n1 passed, 0 failed\n"
    assert result.stderr == ""


def test_one_failed_is_exit_code_1_and_its_whole_transcript(folder: Path) -> None:
    result = run(".", "-m", "scripted")
    assert result.exit_code == 1
    assert "FAILED  bad" in result.stdout
    assert "User: Hi" in result.stdout
    assert "NOT met: turn 1, contains: bye" in result.stdout
    assert result.stdout.endswith("1 passed, 1 failed\n")
    assert "\x1b" not in result.stdout


def test_json_is_all_that_stands_on_stdout(folder: Path) -> None:
    result = run(".", "-m", "scripted", "--json", "--seeds", "2")
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert (data["passed"], data["failed"]) == (1, 1)
    assert [(each["name"], each["passed"], each["score"], each["steps"]) for each in data["scenarios"]] == [
        ("bad", False, 0.0, 1),
        ("good", True, 1.0, 1),
    ]
    assert [run["seed"] for run in data["scenarios"][0]["runs"]] == [1, 2]


def test_reports_are_written(folder: Path) -> None:
    assert run(".", "-m", "scripted", "--junit", "r.xml", "--html", "r.html").exit_code == 1
    assert Xml.parse(folder / "r.xml").getroot().get("tests") == "2"  # noqa: S314
    assert "1 passed, 1 failed" in (folder / "r.html").read_text()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "No scenario was named"),
        (("gone.yaml",), "no file gone.yaml"),
        (("good.yaml", "-m", "startre"), "starter"),
        (("good.yaml", "-m", "/no/such.gguf"), "Check the path"),
        (("good.yaml", "--record", "a", "--replay", "b"), "exclude each other"),
        (("good.yaml", "--replay", "b"), "no cassette"),
        (("good.yaml", "-m", "scripted", "--junit", "no/such/r.xml"), "no/such/r.xml cannot be written"),
        (("good.yaml", "-m", "scripted", "--junit", "."), "cannot be written"),
    ],
)
def test_what_cannot_be_is_told_with_a_hint(folder: Path, args: tuple[str, ...], words: str) -> None:
    result = run(*args)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_a_run_that_is_stopped_leaves_the_earlier_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "r.xml").write_text("earlier")

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scenarios, "run_cases", stopped)
    assert run("good.yaml", "-m", "scripted", "--junit", "r.xml", "--html", "r.html").exit_code == 130
    assert (folder / "r.xml").read_text() == "earlier"
    assert sorted(each.name for each in folder.glob("r.*")) == ["r.xml"]


def test_a_file_that_cannot_be_used_is_told_with_its_line(folder: Path) -> None:
    (folder / "good.yaml").write_text(GOOD + "tolls: []\n")
    result = run("good.yaml")
    assert result.exit_code == 1
    assert "good.yaml:2: there is no key 'tolls' here; is it 'tools'?" in result.stderr


def test_the_schema_is_printed(folder: Path) -> None:
    result = run("--schema")
    assert result.exit_code == 0
    assert "turns" in json.loads(result.stdout)["properties"]


def test_recorded_and_replayed(folder: Path) -> None:
    (folder / "good.yaml").write_text("tools: [clock]\n" + GOOD)
    assert run("good.yaml", "-m", "scripted", "--record", "tapes").exit_code == 0
    assert (folder / "tapes" / "good.cassette.yaml").exists()
    assert run("good.yaml", "--replay", "tapes").exit_code == 0


def test_progress_is_shown_on_a_terminal_and_nowhere_else(folder: Path) -> None:
    terminal, other = pty.openpty()
    program = str(Path(sys.executable).with_name("phireside"))
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    child = subprocess.Popen(
        [program, "run", "good.yaml", "-m", "scripted"], stdout=subprocess.PIPE, stderr=other, env=environment
    )
    os.close(other)
    seen = b""
    try:
        while piece := os.read(terminal, 10_000):
            seen += piece
    except OSError:  # Linux's way of saying that the other end is closed
        pass
    out, _ = child.communicate(timeout=120)
    os.close(terminal)
    assert b"good" in seen
    assert b"waits" in seen
    assert out == b"passed  good (scripted): score 1.00, 1 step\n1 passed, 0 failed\n"


@pytest.mark.real
def test_the_starter_runs_a_scenario(folder: Path, starter_path: Path) -> None:
    (folder / "good.yaml").write_text(ASKS)
    result = run("good.yaml", "--model", "starter", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["scenarios"][0]["model"] == "starter"
