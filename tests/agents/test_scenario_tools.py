"""Tools of a scenario that reach further than its file: folders to read, and programs to start."""

from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from mcp_servers import program, servers_file, tools_of

from phireside.agents.scenarios import Options, load, run_cases
from phireside.agents.scenarios.schema import Tool
from phireside.agents.scenarios.toolbox import build_tools
from phireside.errors import SettingsError
from phireside.tools import read_file

SERVER = """
tools: [{name: mcp_tools, options: {path: servers.json}}]
approvals: approve
turns:
  - user: Echo.
    expect: [{tool: notes_echo, arguments: {text: hello}}, {observed: hello}]
    script: [{call: notes_echo, arguments: {text: hello}}, {answer: Done.}]
"""


def built(folder: Path, **entry: Any) -> list[BaseTool]:
    return build_tools([Tool.model_validate(entry)], folder, [])


def test_read_file_reads_beside_the_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "plan.txt").write_text("Buy wood.")
    monkeypatch.chdir(tmp_path.parent)
    (tool,) = built(Path(tmp_path.name), name="read_file", options={"folders": ["notes"]})
    assert tool.invoke({"name": "plan.txt"}) == "Buy wood."


@pytest.mark.parametrize("folder", ["..", "/", "notes/../..", "out", "~", ["."], {"a": "b"}, 5, None])
def test_read_file_reads_nowhere_else(folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").symlink_to("/")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="read_file"):
        built(Path(), name="read_file", options={"folders": [".", folder]})


def test_a_stub_of_read_file_looks_like_it(tmp_path: Path) -> None:
    (stub,) = built(tmp_path, name="read_file", results=[{"returns": "words"}])
    assert (stub.description, stub.metadata) == ((real := read_file(tmp_path)).description, real.metadata)
    assert stub.invoke({"name": "x"}) == "words"


def test_a_scenario_starts_no_server_that_the_person_has_not_approved(tmp_path: Path) -> None:
    path, kept = servers_file(tmp_path, notes=program()), tmp_path / "mine" / "approved.json"
    (tmp_path / "s.yaml").write_text(SERVER)
    options = Options(lambda *_, **__: None, model="scripted", approvals=kept)  # type: ignore[arg-type, return-value]
    (outcome,) = run_cases(load([tmp_path / "s.yaml"]), options)
    assert "The server notes has not been approved" in outcome.runs[0].error
    kept.parent.mkdir()
    tools_of(path, approvals=kept)
    (outcome,) = run_cases(load([tmp_path / "s.yaml"]), options)
    assert outcome.passed, outcome.runs[0].error


@pytest.mark.parametrize("option", ["approvals", "approve", "failed"])
def test_a_scenario_cannot_approve_anything_itself(option: str, tmp_path: Path) -> None:
    servers_file(tmp_path, notes=program())
    with pytest.raises(SettingsError, match=f"mcp_tools has no option {option}"):
        built(tmp_path, name="mcp_tools", options={"path": "servers.json", option: "approved.json"})
