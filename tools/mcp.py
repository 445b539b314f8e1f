"""Tools of other programs: MCP servers from a `mcpServers` JSON file, through `langchain-mcp-adapters`.

Nothing is started, and no tool offered, that a person has not approved: see `mcp_approvals`. What a server says of its
tools is a stranger's word, and so is what they return. Knows no prompts and resources of servers.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator, SchemaError
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PrivateAttr

from phireside.errors import PhiresideError, ToolError
from phireside.tools.mcp_approvals import Approvals, Approve, fingerprint, is_hidden
from phireside.tools.mcp_servers import Server, read_servers
from phireside.tools.mcp_sessions import ask, called, in_background, offered

SECONDS = 25.0
LONGEST = 20_000  # characters
_LONGEST_TOOL = 20_000  # characters of name, description and schema
_LONGEST_NAME = 64
_MARGIN = 2.0  # seconds, for a loop that is busy with other servers

Failed = Callable[[str, PhiresideError], None]


def mcp_tools(
    path: str | Path,
    *,
    approvals: str | Path | None = None,
    approve: Approve | None = None,
    failed: Failed | None = None,
    seconds: float = SECONDS,
    longest: int = LONGEST,
) -> list[BaseTool]:
    """The tools of MCP servers.

    Args:
        path: of the JSON file; {"mcpServers": {name: {"command", "args", "env", "cwd"} or {"url", "headers"}}}.
        approvals: file in which approvals are kept; None = they are asked for anew each time.
        approve: is asked, in the caller's thread, before a server is started for the first time, and before a tool is
            offered that is new, has changed, or has hidden characters in it. None = nobody is there to be asked.
        failed: is told of each server or tool that cannot be used, and the others go on; None = the first is raised.
        seconds: that a call may take, the start of the server included; and the listing of each server's tools.
        longest: characters of a result that are returned.

    Returns:
        Tools named `server_tool`, synchronous and not. They raise ToolError.

    Raises:
        SettingsError: a file cannot be read.
        ToolError: without `failed`: a server cannot be used, or something was not approved and nobody can be asked.
    """
    gate = Approvals(Path(approvals) if approvals else None, approve)
    report = failed or _raise
    admitted = [each for each in read_servers(Path(path)) if _admitted(gate, each, report)]
    lists = [(each, in_background(ask(each, offered, seconds))) for each in admitted]  # all at once
    tools: dict[str, BaseTool] = {}
    for server, found in lists:
        try:
            listed = found.result(seconds + _MARGIN)
        except (PhiresideError, TimeoutError) as error:
            report(server.name, error if isinstance(error, PhiresideError) else _late(server.name, seconds))
            continue
        for tool in listed:
            if _admitted(gate, server, report, tool):
                made = _made(server, tool, seconds, longest)
                if made.name in tools:
                    report(server.name, ToolError(f"Two tools are named {made.name}.", hint="Rename a server."))
                tools.setdefault(made.name, made)
    return list(tools.values())


def _raise(server: str, error: PhiresideError) -> None:  # noqa: ARG001
    raise error


def _late(name: str, seconds: float) -> ToolError:
    return ToolError(f"The server {name} took longer than {seconds:g} s.", hint="Do without it, and say so.")


def _admitted(gate: Approvals, server: Server, report: Failed, tool: BaseTool | None = None) -> bool:
    try:
        if tool:
            _check(server, tool)
        return gate.admits(server, tool)
    except ToolError as error:
        report(server.name, error)
        return False


def _check(server: Server, tool: BaseTool) -> None:
    """Refuse a tool that would break, or fill, the prompt of all others.

    Raises:
        ToolError: it is one.
    """
    try:
        length = len(json.dumps([tool.name, tool.description, _schema(tool)]))
        Draft202012Validator.check_schema(_schema(tool))
        written = convert_to_openai_tool(tool)["function"]["parameters"].get("properties", {})
        usable = length <= _LONGEST_TOOL and isinstance(written, dict)
    except (SchemaError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        usable = False
    if not usable:
        raise ToolError(
            f"The tool {ascii(tool.name)[:80]} of {server.name} is too long, or has arguments that are no JSON schema.",
            hint="Do without it.",
        )


def _schema(tool: BaseTool) -> dict[str, Any]:
    """Of its arguments, as the server wrote it."""
    return cast(dict[str, Any], tool.args_schema)


class McpTool(BaseTool):
    """A tool of a server. (`StructuredTool` would lose arguments that are named as its own.)"""

    _call: Callable[[dict[str, Any]], Any] = PrivateAttr()
    _seconds: float = PrivateAttr()

    def _run(self, /, **arguments: Any) -> str:
        try:
            text: str = in_background(self._call(arguments)).result(self._seconds + _MARGIN)
        except TimeoutError:
            raise _late(self.name, self._seconds) from None
        return text

    async def _arun(self, /, **arguments: Any) -> str:
        try:
            waiting = asyncio.wrap_future(in_background(self._call(arguments)))
            text: str = await asyncio.wait_for(waiting, self._seconds + _MARGIN)
        except TimeoutError:
            raise _late(self.name, self._seconds) from None
        return text


def _made(server: Server, tool: BaseTool, seconds: float, longest: int) -> McpTool:
    """The tool that an agent gets."""
    approved = fingerprint(tool)

    async def call(arguments: dict[str, Any]) -> str:
        text = await ask(
            server,
            lambda session: called(session, tool.name, arguments, lambda now: fingerprint(now) == approved),
            seconds,
        )
        return _shortened(text, longest)

    made = McpTool(
        name=_name(f"{server.name}_{tool.name}"),
        description=tool.description,
        args_schema={"properties": {}, **_schema(tool)},  # LangChain needs them, also where there are none
        metadata={"grammars": {}, "effects": _effects(server, tool), "untrusted": True},
    )
    made._call, made._seconds = call, seconds
    return made


def _name(text: str) -> str:
    """A name that every model's interface takes; with the server's, it cannot take the place of another tool."""
    return "".join(each if each.isascii() and (each.isalnum() or each in "_-") else "_" for each in text)[
        :_LONGEST_NAME
    ]


def _effects(server: Server, tool: BaseTool) -> str:
    """`outward` stands for "may do anything": a server's word is taken only for a tool that a person has approved with
    it, on this machine, that only reads and says that it reaches no further. All others are asked about."""
    said = tool.metadata or {}
    harmless = said.get("readOnlyHint") is True and said.get("openWorldHint") is False  # by default it is open
    return "none" if harmless and server.is_local else "outward"


def _shortened(text: str, longest: int) -> str:
    more = len(text) - longest
    seen = "".join(
        each for each in text[:longest] if not is_hidden(each) or each in "\u200c\u200d"
    )  # joiners of scripts
    return seen if more <= 0 else f"{seen}\n(The result goes on: {more:,} characters more.)"
