"""The tools of a scenario: real ones by name, stubs with fixed results, and a record of every call that ran."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import PositiveFloat, PositiveInt, TypeAdapter, ValidationError

from phireside.agents.scenarios.match import matches
from phireside.agents.scenarios.schema import Tool
from phireside.errors import PhiresideError, SettingsError, ToolError
from phireside.tools.named import TOOLS, factory

_COUNT: TypeAdapter[Any] = TypeAdapter(PositiveInt)
_OPTIONS: dict[str, dict[str, TypeAdapter[Any]]] = {
    "calculator": {},
    "clock": {"zone": TypeAdapter(str)},
    "web_search": {"results": _COUNT},
    "read_page": {"longest": _COUNT},
    "read_file": {"folders": TypeAdapter(str | list[str]), "longest": _COUNT},
    "knowledge": {
        "documents": TypeAdapter(dict[str, str]),
        "passages": _COUNT,
        "longest": _COUNT,
        "description": TypeAdapter(str),
    },
    "mcp_tools": {"path": TypeAdapter(str), "seconds": TypeAdapter(PositiveFloat), "longest": _COUNT},
}  # what a file can say; factories also take functions, and what a scenario of a stranger must not decide
_NEEDED = {"read_file": {"folders"}, "knowledge": {"documents"}, "mcp_tools": {"path"}}
REAL_TOOLS = tuple(TOOLS)
_PATHS = {"folders", "path", "file"}  # options that name files: below the scenario's folder unless they are absolute
_TWIN: dict[str, dict[str, Any]] = {
    "read_file": {"folders": ["."]},
    "knowledge": {"documents": {"": "-"}},
}  # options of real tools that only lend their looks


@dataclass(frozen=True)
class Ran:
    """A call of a tool that ran.

    Attributes:
        tool: its name.
        arguments: by name.
        result: what it gave, or its error's message.
        failed: whether it was an error.
        seconds: it took.
    """

    tool: str
    arguments: Mapping[str, Any]
    result: str
    failed: bool
    seconds: float


class Tape(Protocol):
    """What keeps the answers of tools, or gives them back."""

    def tool(self, name: str, arguments: Mapping[str, Any], run: Callable[[], str]) -> str:
        """The result of a call, from `run` or from the tape."""
        ...


def build_tools(
    entries: list[Tool], folder: Path, log: list[Ran], tape: Tape | None = None, approvals: Path | None = None
) -> list[BaseTool]:
    """The tools of a scenario.

    Args:
        entries: as the file has them.
        folder: the file's.
        log: gets every call that runs, in order.
        tape: records real tools, or plays them back.
        approvals: what the person approved of MCP servers; a scenario cannot approve any itself.

    Raises:
        SettingsError: a real tool does not take its options, or may not be used.
    """
    tools: list[BaseTool] = []
    for entry in entries:
        made = [_stub(entry)] if entry.results else _real(entry, folder, approvals)
        tools += [_logged(tool, log, None if entry.results else tape) for tool in made]
    return tools


def _real(entry: Tool, folder: Path, approvals: Path | None = None) -> list[BaseTool]:
    """A real tool, or the several that an MCP file names."""
    folder = folder.resolve()  # a name that begins with ~ stays below it
    options = {key: _below(folder, value) if key in _PATHS else value for key, value in entry.options.items()}
    if problem := option_problem(entry):
        raise SettingsError(f"{problem}.", hint="docs/scenarios.md has the options of each tool.")
    if entry.name == "read_file":
        _check_inside(folder, options.get("folders"))
    if entry.name == "mcp_tools":
        options["approvals"] = approvals
    try:
        made = factory(entry.name)(**options)
    except PhiresideError as error:
        raise SettingsError(f"The tool {entry.name} cannot be used: {error.message}", hint=error.hint) from error
    return list(made) if isinstance(made, list | tuple) else [made]


def option_problem(entry: Tool) -> str:
    """What is wrong with the options of a real tool; empty if nothing is."""
    known = _OPTIONS[entry.name]
    for name, value in entry.options.items():
        if name not in known:
            return f"{entry.name} has no option {name[:60]} in a scenario; it has {', '.join(known) or 'none'}"
        try:
            known[name].validate_python(value, strict=True)
        except ValidationError as error:
            return f"{entry.name} cannot have the {name} {value!r:.60}: {error.errors()[0]['msg']}"
    if missing := _NEEDED.get(entry.name, set()) - entry.options.keys():
        return f"{entry.name} needs the option {min(missing)}"
    return ""


def _check_inside(folder: Path, folders: Any) -> None:
    """A scenario may come from a stranger, and could have files read that are nobody's business."""
    for each in folders if isinstance(folders, list) else [folders]:
        if isinstance(each, Path) and not each.resolve().is_relative_to(folder):
            raise SettingsError(
                f"read_file may not read {each} in a scenario.", hint=f"Name folders that are in {folder}."
            )


def _below(folder: Path, value: Any) -> Any:
    if isinstance(value, list):
        return [_below(folder, each) for each in value]
    return folder / value if isinstance(value, str) else value


def _stub(entry: Tool) -> BaseTool:
    """A tool that gives what the scenario says; a stub of a real one looks like it to the model."""
    real = _twin(entry)
    twin = dict(real.metadata or {}) if real else {}
    metadata = {
        "grammars": {} if entry.parameters else twin.get("grammars", {}),
        "effects": entry.effects or twin.get("effects", "none"),
        "untrusted": twin.get("untrusted", False) if entry.untrusted is None else entry.untrusted,
    }

    def give(**arguments: Any) -> str:
        for result in entry.results:
            if matches(result.when, arguments):
                if result.error is not None:
                    raise ToolError(result.error)
                return result.returns or ""
        raise ToolError(f"{entry.name} has no result for {arguments}.", hint="Use other arguments.")

    described = entry.description or (real.description if real else "")
    schema = real.args_schema if real and not entry.parameters else _schema(entry)
    return StructuredTool(name=entry.name, description=described, args_schema=schema, func=give, metadata=metadata)


def _twin(entry: Tool) -> BaseTool | None:
    """The real tool that a stub stands for; None if there is none, or not without options."""
    try:
        like = Tool(name=entry.name, options=_TWIN.get(entry.name, {}))
        return next(iter(_real(like, Path())), None) if entry.name in REAL_TOOLS else None
    except SettingsError:
        return None


def _schema(entry: Tool) -> dict[str, Any]:
    """The JSON schema of a stub's arguments; all must be given unless one has a default."""
    properties = {
        name: {"type": "string", "description": each} if isinstance(each, str) else each
        for name, each in entry.parameters.items()
    }
    required = [name for name, each in properties.items() if "default" not in each]
    return {"title": entry.name, "type": "object", "properties": properties, "required": required}


def _logged(tool: BaseTool, log: list[Ran], tape: Tape | None) -> BaseTool:
    """The same tool, whose calls are written down."""

    def run(**arguments: Any) -> str:
        began = time.monotonic()
        given = {name: value for name, value in arguments.items() if value is not None}

        def call() -> str:
            return _text(tool.invoke(arguments))

        try:
            result = tape.tool(tool.name, given, call) if tape else call()
        except PhiresideError as error:
            log.append(Ran(tool.name, given, str(error), True, time.monotonic() - began))
            raise
        log.append(Ran(tool.name, given, result, False, time.monotonic() - began))
        return result

    schema = tool.args_schema or {"title": tool.name, "type": "object", "properties": {}}
    metadata = tool.metadata
    return StructuredTool(
        name=tool.name,
        description=tool.description,
        args_schema=schema,
        func=run,
        metadata=metadata,
        extras=tool.extras,
    )


def _text(result: Any) -> str:
    if isinstance(result, list):  # blocks of content
        return "\n".join(str(each.get("text", each)) if isinstance(each, Mapping) else str(each) for each in result)
    return str(result)
