"""Tools by name: made of settings, in one order, and what cannot be used says what to do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grounding import PASSAGES, finding

from phireside.errors import PhiresideError, SettingsError
from phireside.settings import Settings, ToolSettings
from phireside.tools import named
from phireside.tools.named import TOOLS, factory, make_tools, unusable


def names(*wanted: str, settings: Settings, **how: object) -> list[str]:
    return [tool.name for tool in make_tools(wanted, settings, **how)]  # type: ignore[arg-type]


def test_tools_come_once_and_in_one_order_however_they_are_named(settings: Settings) -> None:
    assert names("clock", "calculator", "clock", settings=settings) == ["calculator", "clock"]
    assert names("calculator", "clock", settings=settings) == ["calculator", "clock"]


def test_each_tool_does_no_more_than_its_name_says(settings: Settings, tmp_path: Path) -> None:
    """A person chooses by these lines; the agent asks by what the tool itself says."""
    wanted = [name for name in TOOLS if name != "mcp_tools"]
    made = make_tools(wanted, settings, folders=[tmp_path], base=finding(*PASSAGES))
    assert [tool.name for tool in made] == wanted
    for tool in made:
        assert tool.metadata
        assert tool.metadata["effects"] == TOOLS[tool.name].effects
    assert all(callable(factory(name)) for name in TOOLS)


def test_a_name_that_is_none_is_an_error_that_lists_those_that_are(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"no tool 'rm -rf'.*calculator, clock"):
        make_tools(["calculator", "rm -rf"], settings, failed=lambda name, error: None)


def test_what_cannot_be_used_says_why_and_the_others_are_made(settings: Settings, tmp_path: Path) -> None:
    problems: dict[str, PhiresideError] = {}
    found = names(*TOOLS, settings=settings, failed=problems.__setitem__)
    assert found == ["calculator", "clock", "web_search", "read_page"]
    assert {name: error.hint for name, error in problems.items()} == {
        name: unusable(name, settings) for name in ("knowledge", "read_file", "mcp_tools")
    }
    with pytest.raises(SettingsError, match=r"set tools\.folders"):
        make_tools(["read_file"], settings)
    assert unusable("read_file", settings, folders=[tmp_path]) == ""
    lost = settings.model_copy(update={"tools": ToolSettings(folders=(tmp_path / "lost",))})
    with pytest.raises(SettingsError, match="lost is no folder"):
        make_tools(["read_file"], lost)


def test_folders_of_the_settings_and_of_the_conversation_may_be_read(settings: Settings, tmp_path: Path) -> None:
    for name in ("mine", "ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(name)
    allowed = settings.model_copy(update={"tools": ToolSettings(folders=(tmp_path / "ours",))})
    (tool,) = make_tools(["read_file"], allowed, folders=[tmp_path / "mine"])
    assert [tool.invoke({"name": f"{name}.txt"}) for name in ("mine", "ours")] == ["mine", "ours"]
    with pytest.raises(PhiresideError):
        tool.invoke({"name": "theirs.txt"})


def test_what_was_searched_for_and_how_long_to_wait_outlives_a_question(settings: Settings) -> None:
    own = settings.model_copy(update={"tools": ToolSettings(searxng_url="http://127.0.0.1:8888")})
    (first,), (again,), (other,) = (make_tools(["web_search"], each) for each in (settings, settings, own))
    assert first is again
    assert first is not other


class Raced(dict[Any, Any]):
    """Another question takes away what this one is looking at."""

    def __iter__(self) -> Iterator[Any]:
        keys = [*super().__iter__()]
        self.clear()
        return iter(keys)


def test_questions_that_list_mcp_servers_at_once_do_not_disturb_each_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named, "_listed", Raced())
    settings.data_dir.mkdir()
    for servers in ("{}", "{} "):
        settings.mcp_file.write_text(f'{{"mcpServers": {servers}}}')
        assert names("mcp_tools", settings=settings) == []


def test_mcp_servers_that_were_not_approved_give_no_tools(settings: Settings) -> None:
    settings.data_dir.mkdir()
    servers = {"mcpServers": {"files": {"command": "nobody-runs-this", "args": []}}}
    settings.mcp_file.write_text(json.dumps(servers))
    problems: dict[str, PhiresideError] = {}
    assert names("clock", "mcp_tools", settings=settings, failed=problems.__setitem__) == ["clock"]
    assert list(problems) == ["files"]
    assert "approve" in str(problems["files"])
    assert not settings.mcp_approvals.exists()
