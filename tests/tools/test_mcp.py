"""MCP servers: their file, what is approved and kept, and what their tools give. Faults are in tests/reliability."""

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from acting import acts, call, observations
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from mcp_server import tool
from mcp_servers import over_http, program, servers_file, tools_of

from phireside.agents import build_agent
from phireside.errors import PhiresideError, SettingsError, ToolError
from phireside.models.tools import specs
from phireside.tools import Offer, mcp_tools
from phireside.tools.mcp_servers import Server

REFERENCE = """
import socket, sys
import uvicorn
from mcp.server.fastmcp import FastMCP

server = FastMCP("sums", log_level="ERROR")

@server.tool()
def add(a: int, b: int) -> int:
    "Adds two numbers."
    return a + b

if "--http" in sys.argv:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        config = uvicorn.Config(server.streamable_http_app(), log_level="error")
        uvicorn.Server(config).run([listening])
else:
    server.run()
"""


@pytest.fixture
def echoes(tmp_path: Path) -> Path:
    """A file with one server."""
    return servers_file(tmp_path, notes=program())


def offering(folder: Path, *tools: dict[str, Any], **servers: Any) -> Path:
    """A file with a server that offers these tools."""
    (folder / "tools.json").write_text(json.dumps(tools))
    return servers_file(folder, notes=program("--tools", folder / "tools.json"), **servers)


class Served:
    """A tool for LangChain's own tests, which are run as they are."""

    @pytest.fixture(autouse=True)
    def _served(self, echoes: Path) -> None:
        self.echo = tools_of(echoes)["notes_echo"]

    @property
    def tool_constructor(self) -> BaseTool:
        return self.echo

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"text": "hello"}


class TestUnit(Served, ToolsUnitTests):
    pass


class TestIntegration(Served, ToolsIntegrationTests):
    pass


# ---- what a tool gives ----


async def test_a_tool_works_in_synchronous_code_and_in_a_running_loop(echoes: Path) -> None:
    echo = tools_of(echoes)["notes_echo"]
    assert echo.invoke({"text": "süß"}) == '{"text": "s\\u00fc\\u00df"}'
    several = await asyncio.gather(*(echo.ainvoke({"n": n}) for n in range(3)))
    assert several == ['{"n": 0}', '{"n": 1}', '{"n": 2}']


def test_arguments_may_be_named_as_those_of_langchain(echoes: Path) -> None:
    names = ("config", "run_manager", "runtime", "self", "callbacks", "name")
    assert json.loads(tools_of(echoes)["notes_echo"].invoke(dict.fromkeys(names, 1))) == dict.fromkeys(names, 1)


def test_a_long_result_is_cut_and_hidden_characters_go(echoes: Path) -> None:
    echo = tools_of(echoes, longest=20)["notes_echo"]
    hidden = "a\u200b\U000e0041\u202eb\u200dc\x1b[1m"
    assert echo.invoke({"more": {"content": [{"type": "text", "text": hidden}]}}) == "ab\u200dc[1m"
    assert echo.invoke({"text": "x" * 100}) == '{"text": "xxxxxxxxxx\n(The result goes on: 92 characters more.)'


def test_pictures_and_files_are_named_and_not_shown(echoes: Path) -> None:
    content = [
        {"type": "image", "data": "AAAA", "mimeType": "image/png"},
        {"type": "resource", "resource": {"uri": "file:///x", "text": "words"}},
        {"type": "resource_link", "name": "x", "uri": "file:///x"},
    ]
    assert tools_of(echoes)["notes_echo"].invoke({"more": {"content": content}}) == (
        "(image: not shown)\nwords\n(file: not shown)"
    )


def test_what_a_server_says_of_a_failure_is_told(echoes: Path) -> None:
    tools = tools_of(echoes)
    with pytest.raises(ToolError, match=r'The server notes says: \{"n": 1\}'):
        tools["notes_fail"].invoke({"n": 1})
    with pytest.raises(ToolError, match="The server notes refuses: not today"):
        tools["notes_refuse"].invoke({})
    hidden = {"content": [{"type": "text", "text": "no\u200b\x1b[8m"}]}
    with pytest.raises(ToolError, match=r"says: no<U\+200B><U\+001B>\[8m$"):
        tools["notes_fail"].invoke({"more": hidden})


def test_a_schema_of_a_server_is_not_run_over_its_answers(tmp_path: Path) -> None:
    slow = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}}
    tools = tools_of(offering(tmp_path, tool("echo", outputSchema=slow)))
    assert tools["notes_echo"].invoke({"more": {"structuredContent": {"x": "a" * 40 + "!"}}}).startswith("{")


@pytest.mark.parametrize("way", ["stdio", "http"])
def test_the_reference_server_is_understood(way: str, tmp_path: Path, loopback: None) -> None:
    script = tmp_path / "sums.py"
    script.write_text(REFERENCE)
    if way == "stdio":
        server = contextlib.nullcontext({"command": sys.executable, "args": [str(script)]})
    else:
        server = over_http(script=script)
    with server as settings:
        path = servers_file(tmp_path, sums=settings)
        assert tools_of(path)["sums_add"].invoke({"a": 2, "b": 3}) == "5"


# ---- the file ----


def test_the_form_of_vs_code_is_read_and_disabled_servers_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text(
        json.dumps({"inputs": [], "servers": {"a": program() | {"type": "stdio"}, "b": {"url": "x", "disabled": True}}})
    )
    assert "a_echo" in tools_of(tmp_path / "mcp.json")


def test_variables_are_filled_in_and_a_program_starts_beside_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", "inner")
    monkeypatch.setenv("SECRET", "s")
    (tmp_path / "inner").mkdir()
    says = "import os; open(os.environ['WHERE'], 'w').write(os.environ['X'] + os.environ.get('SECRET', '-'))"
    server = {"command": sys.executable, "args": ["-c", says], "env": {"X": "${env:SECRET}", "WHERE": "${WHERE}/said"}}
    with pytest.raises(ToolError, match="broke off"):
        tools_of(servers_file(tmp_path, says=server))
    assert (tmp_path / "inner" / "said").read_text() == "s-"  # what is not named is not passed on
    monkeypatch.delenv("SECRET")
    with pytest.raises(SettingsError, match=r"says needs \$\{env:SECRET\}, which is not set"):
        tools_of(servers_file(tmp_path, says=server))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "names no servers"),
        ('{"tools": {}}', "names no servers"),
        ('{"mcpServers": {"a": 5}}', "names no servers"),
        ('{"mcpServers": {"a": {}}}', "either a command or a url"),
        ('{"mcpServers": {"a": {"command": "x", "url": "y"}}}', "either a command or a url"),
        ('{"mcpServers": {"a": {"command": "x", "type": "http"}}}', "its type is http"),
        ('{"mcpServers": {"a": {"command": "x", "args": "y"}}}', "args"),
        ('{"mcpServers": {"a": {"url": "y", "type": "websocket"}}}', "type"),
        ('{"mcpServers": {"a": {"url": "ftp://x"}}}', "does not begin with http"),
    ],
)
def test_a_file_that_is_wrong_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(SettingsError, match=said):
        tools_of(tmp_path / "s.json")


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        tools_of(tmp_path / "none.json")


# ---- approvals ----


def test_nothing_is_started_that_was_not_approved(tmp_path: Path) -> None:
    path = servers_file(tmp_path, notes=program("--calls", tmp_path / "calls"), more={"command": "/nowhere/at/all"})
    with pytest.raises(ToolError, match=r"The server notes has not been approved: .*mcp_server\.py"):
        mcp_tools(path)
    asked: list[Offer] = []
    assert mcp_tools(path, approve=lambda offer: bool(asked.append(offer))) == []
    assert [(each.server, each.tool) for each in asked] == [("notes", ""), ("more", "")]


def test_what_was_approved_is_kept_and_not_asked_again(tmp_path: Path) -> None:
    path, kept = offering(tmp_path, tool("echo"), tool("hang")), tmp_path / "approved.json"
    asked: list[Offer] = []

    def some(offer: Offer) -> bool:
        asked.append(offer)
        return offer.tool != "hang"

    assert list(tools_of(path, approvals=kept, approve=some)) == ["notes_echo"]
    assert [each.tool for each in asked] == ["", "echo", "hang"]
    assert "Does echo." in asked[1].text
    assert [each.why for each in asked[1:]] == [
        f"The tool {name} of notes has not been approved" for name in ("echo", "hang")
    ]
    assert list(tools_of(path, approvals=kept, approve=some)) == ["notes_echo"]
    assert [each.tool for each in asked[3:]] == ["hang"]


def test_another_command_under_the_same_name_is_another_server(tmp_path: Path) -> None:
    kept = tmp_path / "approved.json"
    tools_of(servers_file(tmp_path, notes=program()), approvals=kept)
    with pytest.raises(ToolError, match="The server notes has not been approved"):
        tools_of(servers_file(tmp_path, notes=program("--begin", "")), approvals=kept, approve=None)


@pytest.mark.parametrize("text", ["{", "[]", '{"servers": {"a": {}}}', '{"servers": {"a": {"tools": 1}}}'])
def test_approvals_that_are_damaged_approve_nothing(echoes: Path, text: str) -> None:
    kept = echoes.with_name("approved.json")
    kept.write_text(text)
    with pytest.raises(SettingsError, match="damaged"):
        mcp_tools(echoes, approvals=kept)


def test_approvals_that_cannot_be_kept_are_told(echoes: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be kept"):
        tools_of(echoes, approvals=echoes.with_name("none") / "approved.json")


# ---- what an agent gets ----

EFFECTS = [
    ({}, "outward"),
    ({"readOnlyHint": True, "openWorldHint": False}, "none"),
    ({"readOnlyHint": True}, "outward"),  # the protocol's default is an open world
    ({"readOnlyHint": True, "openWorldHint": True}, "outward"),
    ({"readOnlyHint": False, "destructiveHint": False}, "outward"),
]


def test_only_a_tool_that_reads_on_this_machine_runs_without_being_asked(tmp_path: Path) -> None:
    offered = [tool(f"t{at}", annotations=marks) for at, (marks, _) in enumerate(EFFECTS)]
    tools = tools_of(offering(tmp_path, *offered)).values()
    assert [(each.metadata or {})["effects"] for each in tools] == [effects for _, effects in EFFECTS]
    assert all((each.metadata or {})["untrusted"] for each in tools)


def test_a_server_elsewhere_is_outward_whatever_it_says() -> None:
    urls = (
        "http://127.0.0.1:5/mcp",
        "http://localhost/",
        "http://[::1]/",
        "http://127.0.0.1.page.invalid/",
        "https://10.0.0.1/",
    )
    assert [Server(name="a", cwd=Path(), url=url).is_local for url in urls] == [True, True, True, False, False]


def test_names_fit_every_interface_and_two_of_a_name_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    path = offering(tmp_path, tool("a b"), tool("a.b"), tool("ä" * 100))
    tools = tools_of(path, failed=lambda server, error: told.append(str(error)))
    assert list(tools) == ["notes_a_b", "notes_" + "_" * 58]
    assert told == ["Two tools are named notes_a_b. Rename a server."]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"x": {"type": "nonsense"}}},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"x": {"$ref": "#/nowhere"}}},
        {"type": "object", "properties": {"x": {"description": "x" * 30_000}}},
    ],
)
def test_a_tool_that_would_break_the_others_is_left_out(tmp_path: Path, schema: dict[str, Any]) -> None:
    told: list[PhiresideError] = []
    path = offering(tmp_path, tool("bad", inputSchema=schema), tool("echo"))
    tools = tools_of(path, failed=lambda server, error: told.append(error))
    assert list(tools) == ["notes_echo"]
    assert "too long, or has arguments that are no JSON schema" in told[0].message
    assert [spec.name for spec in specs(list(tools.values()))] == ["notes_echo"]


def test_a_tool_may_have_no_arguments(tmp_path: Path) -> None:
    bare = tools_of(offering(tmp_path, tool("echo", inputSchema={"type": "object"})))["notes_echo"]
    assert bare.invoke({}) == "{}"
    assert [dict(spec.parameters["properties"]) for spec in specs([bare])] == [{}]


def test_an_agent_calls_a_tool_and_what_it_gives_is_marked_as_data(tmp_path: Path) -> None:
    tools = tools_of(offering(tmp_path, tool("echo", annotations={"readOnlyHint": True, "openWorldHint": False})))
    agent = build_agent(acts(call("notes_echo", text="hello"), AIMessage("Done.")), list(tools.values()))
    (seen,) = observations(agent.invoke({"messages": [("user", "Echo.")]})["messages"])
    assert '{"text": "hello"}' in seen
    assert seen.startswith("<data ")
