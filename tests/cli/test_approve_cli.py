"""`phireside approve`: each server and each tool is asked for once, and nothing is used without a yes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mcp_servers import program, servers_file
from typer.testing import CliRunner, Result

from phireside.cli import app
from phireside.settings import Settings

Approve = Callable[[str], Result]


@pytest.fixture
def approve(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Approve:
    """`approve("y\\n")` runs the command on a file with one server, with these lines typed."""
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(settings.data_dir))
    file = servers_file(tmp_path, notes=program())
    return lambda typed: CliRunner().invoke(app, ["approve", str(file)], input=typed)


def test_what_is_approved_is_not_asked_again(approve: Approve) -> None:
    first, second = approve("y\n" * 50), approve("")
    assert first.exit_code == second.exit_code == 0
    assert "has not been approved" in first.stderr
    assert "Approve?" not in second.stderr
    assert first.stdout == second.stdout
    assert "notes_" in first.stdout


@pytest.mark.parametrize("typed", ["n\n", "\n"])
def test_a_server_that_is_refused_is_not_started(approve: Approve, typed: str) -> None:
    refused = approve(typed)
    assert refused.exit_code == 0
    assert refused.stdout == ""
    assert refused.stderr.count("Approve?") == 1


def test_where_nobody_can_answer_nothing_is_approved_and_the_command_fails(approve: Approve) -> None:
    ended = approve("")
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "Nobody can answer" in ended.stderr


def test_without_a_file_it_is_that_of_the_settings(approve: Approve, settings: Settings, tmp_path: Path) -> None:
    settings.data_dir.mkdir(exist_ok=True)
    settings.mcp_file.symlink_to(servers_file(tmp_path, notes=program()))
    named, unnamed = approve("y\n" * 50), CliRunner().invoke(app, ["approve"])
    assert (unnamed.exit_code, unnamed.stdout) == (0, named.stdout)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["approve", str(tmp_path / "none.json")])
    assert told.exit_code == 1
    assert "none.json" in told.stderr
