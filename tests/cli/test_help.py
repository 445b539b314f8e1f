"""Help: examples for every command, which are written as the commands want them; quick; and what Tab offers."""

import json
import re
import resource
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from phireside.cli import app

PHIRESIDE = str(Path(sys.executable).with_name("phireside"))
# What any program on this stack has to do for its help: import typer and settings, and draw a page.
STACK = "import pydantic_settings, typer; app = typer.Typer(); app.command()(lambda: None); app(['--help'])"


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its name."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())


def check_command_line(line: str) -> None:
    """A `phireside …` as a shell would take it, with whatever it is piped from: its options exist, and take this.

    Raises:
        AssertionError: the line does not begin a command of ours.
        ClickException: an option or argument is not so.
    """
    words = shlex.split(line.split("|")[-1].split(" > ")[0])
    while "=" in words[0]:  # variables of the environment
        words.pop(0)
    at = words.index("--") + 1 if words[0] == "claude" else 0
    assert words[at] == "phireside", line
    words = words[at + 1 :]
    depth = next((n for n in (2, 1) if tuple(words[:n]) in COMMANDS), 0)
    assert depth or words in (["--help"], ["--version"]), f"{line}: there is no such command"
    if depth and "--help" not in words:
        COMMANDS[tuple(words[:depth])].make_context("phireside", words[depth:])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_examples_and_each_is_written_correctly(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "120", "TERM": "dumb"})
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.partition("Examples:")[2].splitlines() if line.strip()]
    assert lines, "no examples"
    for line in lines:
        check_command_line(line)
    assert any(" ".join(("phireside", *command)) in line for line in lines)


PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
BLOCKS = re.findall(r"^```sh([^\n]*)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_every_line_of_the_page_is_written_correctly() -> None:
    lines = [line for _, block in BLOCKS for line in block.splitlines() if "phireside" in line]
    assert len(lines) > 20
    for line in lines:
        check_command_line(line.removesuffix("|| true").replace("--install-completion", "--help"))


def run_line(line: str, folder: Path) -> None:
    """A line of the page. Our commands run in this process, which has loaded the models: a shell does the rest."""
    before, _, ours = line.rpartition("| ") if "| phireside" in line else ("", "", line)
    ours, _, file = ours.removesuffix("|| true").partition(" > ")
    shell = before or ("" if "phireside" in ours else line)
    typed = subprocess.run(["bash", "-c", shell], cwd=folder, check=True, stdout=subprocess.PIPE).stdout
    if shell != line:
        words = shlex.split(ours)
        at = words.index("phireside")
        env = dict(each.split("=", 1) for each in words[:at])
        done = CliRunner().invoke(app, words[at + 1 :], input=typed, env=env)
        assert done.exit_code == 0 or "|| true" in line, (line, done.output)
        if file:
            (folder / file.strip()).write_text(done.stdout)


@pytest.mark.real
def test_the_examples_of_the_page_run(tmp_path: Path, starter_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    for line in "".join(block for mark, block in BLOCKS if mark == " run").splitlines():
        run_line(line, tmp_path)
    assert json.loads((tmp_path / "answer.json").read_text())["base"] == "letters"
    assert "three months" in json.loads((tmp_path / "found.json").read_text())[0]["text"]
    assert json.loads((tmp_path / "settings.json").read_text())[-1]["value"] == 9000
    assert {each["subject"] for each in json.loads((tmp_path / "doctor.json").read_text())} >= {"model", "memory"}


def test_every_command_is_on_the_page() -> None:
    text = PAGE.read_text()
    assert [name for name in COMMANDS if f"`phireside {' '.join(name)}`" not in text and name[0] != "models"] == []


def test_what_a_program_may_read_is_there_as_json() -> None:
    without = {
        name for name, command in COMMANDS.items() if "--json" not in {o for p in command.params for o in p.opts}
    }
    talking = {("chat",), ("ui",), ("serve",), ("mcp",), ("approve",)}
    paths = {("models", "path"), ("models", "pull"), ("models", "accept")}  # one path is all they print
    assert without == talking | paths


@pytest.mark.parametrize("width", ["20", "80"])
def test_help_is_readable_on_a_narrow_terminal_and_without_colour(width: str) -> None:
    for form in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        result = CliRunner().invoke(app, ["ask", "--help"], env={"COLUMNS": width, **form})
        assert result.exit_code == 0
        assert "\x1b" not in result.stdout


def test_help_takes_little_more_than_importing_what_it_is_built_on() -> None:
    def work(*command: str) -> float:
        """Seconds of the processor: those of the clock depend on who else is at work."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=True, cwd="/")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    pairs = [(work(PHIRESIDE, "--help"), work(sys.executable, "-c", STACK)) for _ in range(3)]
    assert statistics.median(ours / bare for ours, bare in pairs) < 2, pairs


# ---- Tab ----


def completed(line: str, data: Path) -> list[str]:
    """What bash would offer."""
    env = {
        "_PHIRESIDE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
        "PHIRESIDE_DATA_DIR": str(data),
    }
    done = CliRunner().invoke(app, [], env=env)
    assert done.stderr == ""
    return done.stdout.split()


def test_tab_offers_bases_models_and_tools(tmp_path: Path) -> None:
    for name in ("letters", "lists", "work", "od\x1bd", f"chat-{'0a' * 16}"):
        folder = tmp_path / "bases" / name
        folder.mkdir(parents=True)
        (folder / "base.sqlite3").touch()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.gguf").write_bytes(b"GGUF")
    assert completed("phireside ask --base l", tmp_path) == ["letters", "lists"]
    assert completed("phireside search x -b ", tmp_path) == ["letters", "lists", "work"]
    assert completed("phireside chat --model mi", tmp_path) == ["mine"]
    assert "phi-3" in completed("phireside models pull phi", tmp_path)
    assert completed("phireside ask --tools clock,cal", tmp_path) == ["clock,calculator"]
    assert "config" in completed("phireside con", tmp_path)


def test_tab_says_nothing_where_the_settings_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHIRESIDE_PORT", "0")
    assert completed("phireside ask --base l", tmp_path) == []
