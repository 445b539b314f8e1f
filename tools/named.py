"""The tools by the names that a person chooses them by, made from settings. Knows no agents."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool
from langchain_core.vectorstores import VectorStore

from phireside.errors import PhiresideError, SettingsError
from phireside.settings import Settings

Effects = Literal["none", "outward", "writes"]
Failed = Callable[[str, PhiresideError], None]


@dataclass(frozen=True)
class NamedTool:
    """A tool as a person sees it.

    Attributes:
        title: its name for people.
        description: what it is for, in a line.
        effects: the most that a call of it may do: "none", "outward" (something leaves this machine) or "writes". A
            person is asked before one that has any.
    """

    title: str
    description: str
    effects: Effects


TOOLS = {
    "calculator": NamedTool("Calculator", "Works out arithmetic and converts units.", "none"),
    "clock": NamedTool("Clock", "Knows date and time, here and in other cities.", "none"),
    "knowledge": NamedTool("Documents", "Searches a base of documents.", "none"),
    "read_file": NamedTool("Files", "Reads text files in folders that you allowed.", "none"),
    "web_search": NamedTool("Web search", "Searches the web. Each search is asked about first.", "outward"),
    "read_page": NamedTool("Web pages", "Reads pages of the web. Each address is asked about first.", "outward"),
    "mcp_tools": NamedTool("MCP servers", "Tools of other programs that you approved.", "outward"),
}


def factory(name: str) -> Callable[..., Any]:
    """What makes the tool of a name; each has arguments of its own.

    Raises:
        SettingsError: there is no such tool.
    """
    if name not in TOOLS:
        raise SettingsError(f"There is no tool {name!r:.60}.", hint=f"Use some of {', '.join(TOOLS)}.")
    made: Callable[..., Any] = getattr(import_module("phireside.tools"), name)
    return made


def unusable(name: str, settings: Settings, *, folders: Sequence[Path] = (), base: object = None) -> str:
    """Why a tool cannot be used as things are, with what to do about it; empty = it can."""
    if name == "knowledge" and base is None:
        return "No documents were chosen."
    if name == "read_file" and not (folders or settings.tools.folders):
        return "No folder is allowed: set tools.folders."
    if name == "mcp_tools" and not settings.mcp_file.exists():
        return f"There are no servers: write {settings.mcp_file}, and run phireside approve."
    return ""


def make_tools(
    names: Sequence[str],
    settings: Settings,
    *,
    folders: Sequence[Path] = (),
    base: BaseRetriever | VectorStore | None = None,
    failed: Failed | None = None,
) -> list[BaseTool]:
    """The tools of some names, each once, in the order of `TOOLS`, so that a prompt with the same tools is the same.

    Args:
        names: of `TOOLS`.
        settings: `tools` of it, and where approvals of MCP servers are kept.
        folders: in which `read_file` may read, beside those of the settings.
        base: what `knowledge` searches.
        failed: is told of each tool that cannot be made, and the others are; None = the first problem is raised.

    Raises:
        SettingsError: there is no such tool, or, without `failed`, one cannot be used as things are.
        ToolError: without `failed`: an MCP server cannot be used.
    """
    for name in names:
        factory(name)
    tools: list[BaseTool] = []
    for name in (each for each in TOOLS if each in names):
        try:
            if why := unusable(name, settings, folders=folders, base=base):
                raise SettingsError(f"The tool {name} cannot be used.", hint=why)
            if name == "mcp_tools":
                tools += _mcp(settings, failed)
            elif name == "web_search":
                tools.append(_web_search(settings.tools.searxng_url))
            else:
                tools.append(factory(name)(**_options(name, settings, folders, base)))
        except PhiresideError as error:
            if failed is None:
                raise
            failed(name, error)
    return tools


def _options(
    name: str,
    settings: Settings,
    folders: Sequence[Path],
    base: BaseRetriever | VectorStore | None,
) -> dict[str, Any]:
    """What the settings say of a tool."""
    if name == "knowledge":
        return {"retriever": base}
    if name == "read_file":
        return {"folders": [*folders, *settings.tools.folders]}
    return {}


@cache
def _web_search(searxng_url: str) -> BaseTool:
    """One for the whole program: what it has found, and how long it has to wait, outlives a question."""
    tools = import_module("phireside.tools")
    made: BaseTool = tools.web_search(tools.searxng(searxng_url) if searxng_url else None)
    return made


_listed: dict[tuple[str, str, bytes, bytes], list[BaseTool]] = {}


def _mcp(settings: Settings, failed: Failed | None) -> list[BaseTool]:
    """The tools of MCP servers. The servers are asked again when a file has changed, or one did not answer.

    That a tool still is what was approved is looked at with each call.
    """
    file, kept = settings.mcp_file, settings.mcp_approvals
    key = str(file), str(kept), _bytes(file), _bytes(kept)
    if (known := _listed.get(key)) is not None:
        return known
    problems: list[str] = []

    def told(server: str, error: PhiresideError) -> None:
        problems.append(server)
        if failed is None:
            raise error
        failed(server, error)

    tools: list[BaseTool] = factory("mcp_tools")(file, approvals=kept, failed=told)
    if not problems:
        for old in [each for each in list(_listed) if each[:2] == key[:2]]:
            _listed.pop(old, None)  # two questions may be here at once
        _listed[key] = tools
    return tools


def _bytes(path: Path) -> bytes:
    """Of a file; none if it cannot be read, which whoever needs it will say."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
