"""Tools as a model meets them: name, description, the form of the input, and which of them a call may choose.

Knows LangChain's ways of writing a tool down, and nothing of prompts or of running tools.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic.errors import PydanticUserError

from phireside.errors import RequestError

ToolLike = dict[str, Any] | type | Callable[..., Any] | BaseTool
JSON = Mapping[str, Any]

_NAME = re.compile(r"[\w./:-]{1,128}")
_KEYWORDS = {None: "auto", True: "any", False: "none", "required": "any"}
_SIGNATURE_DEPTH, _SIGNATURE_LENGTH = 4, 2000  # characters
_HINT = "Pass functions, LangChain tools, pydantic classes or JSON schemas with a title."


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
    """A tool in OpenAI's form, with the key "grammars" where its `metadata` or `extras` has grammars for arguments.

    Raises:
        RequestError: it is no tool, or its arguments cannot be described as JSON.
    """
    try:
        return _as_dict(tool)
    except (TypeError, ValueError, AttributeError, KeyError, RecursionError, PydanticUserError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise RequestError(f"{tool!r:.80} cannot be used as a tool: {reason}.", hint=_HINT) from error


def _as_dict(tool: ToolLike) -> dict[str, Any]:
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
    """Tools of any kind that LangChain takes; one that is there twice counts once.

    Raises:
        RequestError: a name is bad or two tools have it, a tool is none or one that only a server can run.
    """
    if isinstance(tools, str | Mapping) or not isinstance(tools, Sequence):
        raise RequestError(f"tools is {tools!r:.80}, but must be a list.", hint=_HINT)
    found: list[ToolSpec] = []
    for tool in tools:
        if (new := spec(tool)) not in found:
            found.append(new)
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
            f"A tool of type {written.get('type')!r} has no function that this model could call.", hint=_HINT
        )
    parameters, grammars = function.get("parameters") or {}, written.get("grammars") or {}
    if not isinstance(parameters, Mapping) or not isinstance(grammars, Mapping):
        raise RequestError(f"The tool {function['name']} has parameters or grammars that are no mapping.", hint=_HINT)
    if "$ref" not in parameters:
        parameters = {"type": "object", "properties": {}, **parameters}
    if unknown := [name for name in grammars if name not in parameters.get("properties", {})]:
        raise RequestError(f"The tool {function['name']} has a grammar for {unknown[0]!r}, which is no argument of it.")
    return ToolSpec(function["name"], function.get("description") or "", closed(parameters), grammars)


def choose(tools: Sequence[ToolSpec], choice: Any, barred: Collection[str] = ()) -> tuple[list[ToolSpec], bool]:
    """The tools that may be called now, and whether the model may answer instead.

    Args:
        tools: those that are bound.
        choice: "auto" or None, "any" (also "required" or True), "none" (also False), a tool's name, or OpenAI's
            {"type": "function", "function": {"name": …}}.
        barred: names of tools that may not be called now.

    Raises:
        RequestError: the choice is none of these, or there is no such tool that may be called.
    """
    tools = [tool for tool in tools if tool.name not in barred]
    wanted: Any = choice
    if isinstance(choice, dict):
        function = choice.get("function", choice)
        wanted = function.get("name") if isinstance(function, dict) else None
    elif choice is None or isinstance(choice, bool | str):
        wanted = _KEYWORDS.get(choice, choice)
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
    """A JSON schema whose objects have nothing but the properties it names, unless it says otherwise itself.

    Raises:
        RequestError: it is nested too deep.
    """
    try:
        return _closed(schema)
    except RecursionError:
        raise RequestError("A JSON schema is nested too deep.", hint="Make it simpler, or use $ref.") from None


def _closed(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    tight = {key: _CLOSING[key](value) if key in _CLOSING else value for key, value in schema.items()}
    if "properties" in tight and "allOf" not in tight:
        tight.setdefault("additionalProperties", False)
    return tight


def _each(value: Any) -> Any:
    return {key: _closed(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def _all(value: Any) -> Any:
    return [_closed(each) for each in value] if isinstance(value, list) else _closed(value)


# Not inside "allOf": there several schemas describe one object together.
_CLOSING: dict[str, Callable[[Any], Any]] = {
    "properties": _each, "$defs": _each, "definitions": _each, "patternProperties": _each, "items": _all,
    "prefixItems": _all, "anyOf": _all, "oneOf": _all, "additionalProperties": _closed,
}  # fmt: skip


def signature(schema: Any) -> str:
    """A JSON schema in few words, for a prompt: `{"city": string (where), "days": integer, optional}`.

    At most 2,000 characters: the grammar knows the rest.
    """
    return _cut(_words(schema, schema, _SIGNATURE_DEPTH))


def _cut(words: Iterable[str]) -> str:
    """Words up to the limit; a schema that would be written out for ever is not."""
    text = ""
    for word in words:
        text += word
        if len(text) > _SIGNATURE_LENGTH:
            return text[:_SIGNATURE_LENGTH] + "…"
    return text


def _words(schema: Any, root: Any, depth: int, inside: tuple[str, ...] = ()) -> Iterator[str]:
    """A signature word by word; `inside` are the references that are being written out."""
    if not isinstance(schema, Mapping) or depth < 0:
        yield "value"
    elif "$ref" in schema:
        yield from _referred(str(schema["$ref"]), root, depth, inside)
    elif "const" in schema or "enum" in schema:
        yield " or ".join(_quoted(value) for value in schema.get("enum", [schema.get("const")]))
    elif key := next((key for key in ("anyOf", "oneOf", "allOf") if schema.get(key)), ""):
        seen: set[str] = set()
        for each in schema[key]:
            if (text := _cut(_words(each, root, depth - 1, inside))) not in seen:
                yield f" or {text}" if seen else text
                seen.add(text)
    elif schema.get("properties"):
        yield "{"
        for at, (name, each) in enumerate(schema["properties"].items()):
            yield (", " if at else "") + f"{_quoted(name)}: "
            yield from _words(each, root, depth - 1, inside)
            yield _note(each) + ("" if name in schema.get("required", []) else ", optional")
        yield "}"
    elif schema.get("type") == "array":
        yield "["
        yield from _words(schema.get("items", {}), root, depth - 1, inside)
        yield ", ...]"
    else:
        yield _kind(schema)


def _referred(reference: str, root: Any, depth: int, inside: tuple[str, ...]) -> Iterator[str]:
    """What a reference leads to, or only its name where that would hold itself."""
    if reference in inside:
        yield reference.rpartition("/")[2].removeprefix("#") or "the same"
    else:
        yield from _words(_resolve(reference, root), root, depth - 1, (*inside, reference))


def _note(schema: Any) -> str:
    """A property's description."""
    note = schema.get("description") if isinstance(schema, Mapping) else None
    return f" ({' '.join(str(note).split())})" if note else ""


def _kind(schema: JSON) -> str:
    """The name of a type."""
    kind = schema.get("type", "value")
    if kind == "object":
        return "{}" if schema.get("additionalProperties") is False else "object"
    return " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)


def _resolve(reference: str, root: Any) -> Any:
    found: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(part, {}) if part and isinstance(found, Mapping) else found
    return found


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
