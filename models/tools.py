"""Tools as a model meets them: name, description, the form of the input, and which of them a call may choose.

Knows LangChain's ways of writing a tool down, and nothing of prompts or of running tools.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from phireside.errors import RequestError

ToolLike = dict[str, Any] | type | Callable[..., Any] | BaseTool
JSON = Mapping[str, Any]

_NAME = re.compile(r"[\w./:-]{1,128}")
_KEYWORDS = {None: "auto", True: "any", False: "none", "required": "any"}
_SIGNATURE_DEPTH = 4


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that is bound to a call.

    Args:
        name: letters, digits and `_ - . / :`.
        description: what it is for.
        parameters: JSON schema of the input, closed: nothing but what it names.
        grammars: for single arguments that are texts, {"lark": …} or {"regex": …} that the text must follow.

    Raises:
        RequestError: the name could not stand in a prompt.
    """

    name: str
    description: str = ""
    parameters: JSON = field(default_factory=dict)
    grammars: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise RequestError(
                f"A tool is named {self.name[:80]!r}.", hint="Use at most 128 letters, digits and _ - . / : for a name."
            )


def as_dict(tool: ToolLike) -> dict[str, Any]:
    """A tool in OpenAI's form, with the key "grammars" where its `metadata` or `extras` has grammars for arguments."""
    written: dict[str, Any] = dict(convert_to_openai_tool(tool))
    if isinstance(tool, BaseTool):
        grammars = (tool.metadata or {}).get("grammars") or (tool.extras or {}).get("grammars")
        if grammars:
            written["grammars"] = grammars
    elif isinstance(tool, dict) and "grammars" in tool:
        written["grammars"] = tool["grammars"]
    elif isinstance(tool, type) and hasattr(tool, "model_json_schema"):
        schema = tool.model_json_schema()  # LangChain's has no recursion
        parameters = {key: value for key, value in schema.items() if key not in ("title", "description")}
        written["function"] = {**written["function"], "parameters": parameters}
    return written


def specs(tools: Sequence[ToolLike]) -> list[ToolSpec]:
    """Tools of any kind that LangChain takes.

    Raises:
        RequestError: a name is bad or stands twice, or a tool is one that only a server can run.
    """
    found = [spec(tool) for tool in tools]
    names = [tool.name for tool in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RequestError(f"Two tools are named {twice[0]!r}.", hint="Give each tool a name of its own.")
    return found


def spec(tool: ToolLike) -> ToolSpec:
    """One tool of any kind that LangChain takes."""
    written = as_dict(tool)
    function = written.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RequestError(
            f"A tool of type {written.get('type')!r} has no function that this model could call.",
            hint="Pass functions, LangChain tools, pydantic classes or JSON schemas with a title.",
        )
    parameters = dict(function.get("parameters") or {})
    if "$ref" not in parameters:
        parameters = {"type": "object", "properties": {}} | parameters
    grammars = written.get("grammars") or {}
    if unknown := [name for name in grammars if name not in parameters.get("properties", {})]:
        raise RequestError(f"The tool {function['name']} has a grammar for {unknown[0]!r}, which is no argument of it.")
    return ToolSpec(function["name"], function.get("description") or "", closed(parameters), grammars)


def choose(tools: Sequence[ToolSpec], choice: Any) -> tuple[list[ToolSpec], bool]:
    """The tools that may be called now, and whether the model may answer instead.

    Args:
        tools: those that are bound.
        choice: "auto" or None, "any" (also "required" or True), "none" (also False), a tool's name, or OpenAI's
            {"type": "function", "function": {"name": …}}.

    Raises:
        RequestError: the choice is none of these, or there is no such tool.
    """
    if isinstance(choice, dict):
        choice = choice.get("function", choice).get("name")
        wanted = choice
    else:
        wanted = _KEYWORDS.get(choice, choice) if choice is None or isinstance(choice, bool | str) else choice
    named = [tool for tool in tools if tool.name == wanted]
    if wanted == "auto":
        return list(tools), True
    if wanted == "none":
        return [], True
    if wanted == "any" and tools:
        return list(tools), False
    if named:
        return named, False
    raise RequestError(
        f"tool_choice is {choice!r}, but the tools are {', '.join(tool.name for tool in tools) or 'none'}.",
        hint='Pass "auto", "any", "none" or the name of a tool.',
    )


def closed(schema: Any) -> Any:
    """A JSON schema whose objects have nothing but the properties it names, unless it says otherwise itself."""
    if not isinstance(schema, Mapping):
        return schema
    tight = {key: _CLOSING[key](value) if key in _CLOSING else value for key, value in schema.items()}
    if "properties" in tight and "allOf" not in tight:
        tight.setdefault("additionalProperties", False)
    return tight


def _each(value: Any) -> Any:
    return {key: closed(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def _all(value: Any) -> Any:
    return [closed(each) for each in value] if isinstance(value, list) else closed(value)


# Not inside "allOf": there several schemas describe one object together.
_CLOSING: dict[str, Callable[[Any], Any]] = {
    "properties": _each, "$defs": _each, "definitions": _each, "patternProperties": _each, "items": _all,
    "prefixItems": _all, "anyOf": _all, "oneOf": _all, "additionalProperties": closed,
}  # fmt: skip


def signature(schema: Any, root: JSON | None = None, depth: int = _SIGNATURE_DEPTH) -> str:
    """A JSON schema in few words, for a prompt: `{"city": string (where), "days": integer, optional}`."""
    root = schema if root is None else root
    if not isinstance(schema, Mapping) or depth < 0:
        return "value"
    if "$ref" in schema:
        return signature(_resolve(str(schema["$ref"]), root), root, depth - 1)
    if "const" in schema or "enum" in schema:
        return " or ".join(_quoted(value) for value in schema.get("enum", [schema.get("const")]))
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return " or ".join(dict.fromkeys(signature(each, root, depth - 1) for each in schema[key]))
    if schema.get("properties"):
        required = schema.get("required", [])
        items = schema["properties"].items()
        return "{" + ", ".join(_property(k, v, k in required, root, depth) for k, v in items) + "}"
    kind = schema.get("type", "value")
    if kind == "array":
        return f"[{signature(schema.get('items', {}), root, depth - 1)}, ...]"
    if kind == "object":
        return "{}" if schema.get("additionalProperties") is False else "object"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _property(name: str, schema: Any, required: bool, root: JSON, depth: int) -> str:
    text = f"{_quoted(name)}: {signature(schema, root, depth - 1)}"
    note = schema.get("description") if isinstance(schema, Mapping) else None
    return text + (f" ({' '.join(str(note).split())})" if note else "") + ("" if required else ", optional")


def _resolve(reference: str, root: JSON) -> Any:
    found: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(part, {}) if part and isinstance(found, Mapping) else found
    return found


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
