"""The pytest plugin: `pytest scenarios/` runs the YAML files, and other people's YAML is left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCENARIO = """
passes-on: [{on}]
turns: [{{user: Hi, expect: [{{contains: "{wanted}"}}], script: [{{answer: Hello you}}]}}]
"""
FLOW = '{name: flow, "turns": [{user: Hi, script: [{answer: Hello you}]}]}'


def run_pytest(folder: Path, *args: str) -> tuple[int, str]:
    """In a process of its own: this run's plugins and options stay out of it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *_plugin(), *args]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stdout + done.stderr


def _plugin() -> list[str]:
    """Named, where the installation is older than the entry point in pyproject.toml."""
    from importlib.metadata import entry_points

    known = any(each.value == "phireside.agents.scenarios.plugin" for each in entry_points(group="pytest11"))
    return [] if known else ["-p", "phireside.agents.scenarios.plugin"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scenarios").mkdir()
    for name, on, wanted in (("good", "scripted", "hello"), ("bad", "scripted", "bye"), ("odd", "phi-3", "bye")):
        (tmp_path / "scenarios" / f"{name}.yaml").write_text(SCENARIO.format(on=on, wanted=wanted))
    (tmp_path / "scenarios" / "compose.yaml").write_text("services: {web: {image: x}}\n")
    (tmp_path / "scenarios" / "chart.yaml").write_text("web:\n  turns: 5\n")
    (tmp_path / "scenarios" / "flow.yaml").write_text(FLOW)
    os.mkfifo(tmp_path / "scenarios" / "pipe.yaml")
    (tmp_path / "other.yaml").write_text("turns: nobody asked\n")
    return tmp_path


def test_files_are_tests_and_a_failing_one_prints_its_transcript(folder: Path) -> None:
    code, text = run_pytest(folder, "--scenario-model", "scripted")
    assert code == 1, text
    assert "2 passed" in text
    assert "1 failed" in text
    assert "1 xfailed" in text
    assert "Answer: Hello you" in text
    assert "NOT met: turn 1, contains: bye" in text
    assert "Traceback" not in text


def test_a_file_that_is_named_is_read_wherever_it_lies_and_its_errors_are_told(folder: Path) -> None:
    code, text = run_pytest(folder, "other.yaml")
    assert code == 2, text
    assert "other.yaml:1: turns" in text
    assert "Traceback" not in text


def test_a_test_can_be_named_as_pytest_prints_it(folder: Path) -> None:
    (folder / "flow.yaml").write_text(FLOW)
    code, text = run_pytest(folder, "flow.yaml::flow", "--scenario-model", "scripted")
    assert code == 0, text
    assert "1 passed" in text


def test_the_plugin_imports_nothing_before_there_is_a_scenario(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\ndef test_it():\n    assert not {'langchain', 'langgraph', 'yaml'} & set(sys.modules)\n"
    )
    code, text = run_pytest(tmp_path, "-p", "no:langsmith", "-p", "no:hypothesispytest", "-p", "no:anyio")
    assert code == 0, text
