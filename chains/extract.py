"""`extract`: the fields of a schema from a text of any length.

A long text is cut into pieces that fit. From each piece the same fields are extracted, null where it does not say; that
costs one batch. Then they are merged without a model, see `merge`; and only where the schema or its validators refuse
what came of it, the model fills in the form once more, from the forms of the pieces.
"""

import asyncio
import functools
import json
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from phireside.chains.chain import Chain, Growing
from phireside.chains.cost import Cost
from phireside.chains.forms import Form, ask, json_form
from phireside.chains.given import chosen, limit
from phireside.chains.long_text import Window, as_done, joined
from phireside.chains.prompt_files import Override, PromptFile, load_prompts
from phireside.errors import EngineError
from phireside.models.tools import signature

_SCHEMAS = {"items", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf"}
_NAMED = {"properties", "$defs", "definitions"}
_COUNTS = {"minItems", "minProperties", "contains", "minContains"}  # no piece needs to have as many as the whole


@dataclass(frozen=True)
class Extracted(Growing):
    """What a text says.

    Attributes:
        value: of the schema; None until it is whole.
        parts: what each piece of a long text says, as JSON values, so far; empty if the text fitted as a whole.
        cost: of all calls that have ended.
    """

    value: Any = None
    parts: tuple[Any, ...] = ()
    cost: Cost = field(default_factory=Cost)


class Extract(Chain[Extracted]):
    """See `extract`."""

    def __init__(self, form: Form[Any], prompts: PromptFile, model: BaseChatModel, max_tokens: int | None) -> None:
        edges = [*pairwise(["", "whole", ""]), *pairwise(["", "part", "merge", ""]), ("part", "")]
        super().__init__({name: (prompt, model) for name, prompt in prompts.prompts.items()}, edges, name="extract")
        self._form, self._prompts, self._model = form, prompts, model
        self._max_tokens, self._limit = max_tokens, limit(model, max_tokens)
        self._words = signature(form.schema)

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[Extracted, None]:
        """The forms of the pieces as they come, and then the whole."""
        text = given["text"]
        window = await asyncio.to_thread(Window, self._model, self._max_tokens)  # loads the model, which takes seconds
        if await asyncio.to_thread(window.fits, self._messages("whole", text)):
            found = await self._ask("whole", text, self._form)
            yield Extracted(found.value, (), found.cost)
            return
        part = json_form(for_a_part(self._form.schema))
        result, parts = Extracted(), dict[int, Any]()
        pieces = await asyncio.to_thread(window.pieces, text, functools.partial(self._messages, "part"))
        calls = [functools.partial(self._ask, "part", piece, part) for piece in pieces]
        async with aclosing(as_done(calls)) as done:
            async for number, answer in done:
                parts[number] = answer.value
                result = Extracted(None, tuple(parts[each] for each in sorted(parts)), result.cost + answer.cost)
                yield result
        merged = merge(result.parts, self._form.schema)
        try:
            yield replace(result, value=self._form.parse(json.dumps(merged)))
        except ValueError:
            last = await self._once_more(window, result.parts)
            yield replace(result, value=last.value, cost=result.cost + last.cost)

    async def _once_more(self, window: Window, parts: Sequence[Any]) -> Any:
        """The form of the whole, from the forms of its pieces."""
        text = joined([json.dumps(part, ensure_ascii=False) for part in parts])
        if not await asyncio.to_thread(window.fits, self._messages("merge", text)):
            raise EngineError(
                f"The forms of {len(parts)} pieces cannot be merged: together they are none of the schema, and too "
                "long to be filled in again.",
                hint="Loosen the schema (fields that may be null, bounds, validators), or give it a shorter text.",
            )
        return await self._ask("merge", text, self._form)

    async def _ask(self, prompt: str, text: str, form: Form[Any]) -> Any:
        return await ask(self._model, self._messages(prompt, text), form, **self._limit)

    def _messages(self, prompt: str, text: str) -> list[BaseMessage]:
        return self._prompts.messages(prompt, form=self._words, text=text)


def extract(
    schema: Any, *, model: BaseChatModel | None = None, prompts: Override = None, max_tokens: int | None = None
) -> Chain[Extracted]:
    """text → `Extracted`.

    Args:
        schema: a pydantic class, a dataclass, a TypedDict or a JSON schema (see `json_form`). Names and descriptions of
            the fields are what the model reads; bounds (`max_length`) are kept by the grammar. Bound all texts and
            lists, so that an answer cannot come to its limit before it is whole.
        model: None = that of the settings.
        prompts: others than those of prompts/extract.yaml: whole, part, merge.
        max_tokens: of each answer; None = the model's own.

    Raises:
        RequestError: it is no schema, or max_tokens is below 1.
        NotSupportedError: max_tokens is given, and the model has no field of that name.
        GrammarError: nothing can be of the schema, or it asks for what no grammar can enforce (`uniqueItems`, …).
        EngineError: (at the call) an answer was longer than max_tokens, or validators of the class refused three.
    """
    return Extract(json_form(schema), load_prompts("extract", prompts), chosen(model), max_tokens)


# ---- pieces of a long text --------------------------------------------------------------------------------------


def for_a_part(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema for a piece of the text: each field at any depth is there and may be null; lists may be shorter."""
    root = _root(schema)
    part: dict[str, Any] = _loose({key: value for key, value in {**schema, **root}.items() if key != "$ref"})
    if "properties" in part or root.get("type") == "array":
        return part
    return {**_definitions(part), **_nullable(_loose(root))}


def _loose(schema: Any) -> Any:
    if isinstance(schema, list):  # anyOf, allOf, …
        return [_loose(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    part = {key: _loose(each) if key in _SCHEMAS else each for key, each in schema.items() if key not in _COUNTS}
    for key in _NAMED & part.keys():
        part[key] = {name: _loose(each) for name, each in part[key].items()}
    if "properties" in part:
        fields = part["properties"]
        part["properties"] = {name: each if "const" in each else _nullable(each) for name, each in fields.items()}
        part["required"] = list(fields)
    return part


def merge(parts: Sequence[Any], schema: Mapping[str, Any]) -> Any:
    """One value from those of several pieces, by the kind of each field.

    - An object: field by field.
    - A list: what any piece names, each once (texts are compared without case and spaces), most often named first,
      then in the text's order; at most `maxItems` of them.
    - All else: what most pieces say; of equals the first.

    Args:
        parts: in the order of the text; null = the piece does not say.
        schema: of the whole.
    """
    said = [part for part in parts if part is not None]
    if not said:
        return None
    root = _root(schema)
    if all(isinstance(part, dict) for part in said):
        names = dict.fromkeys(name for part in said for name in part)
        fields = root.get("properties", {})
        merged = {name: merge([part.get(name) for part in said], _within(schema, fields.get(name))) for name in names}
        optional = {name for name in names if name not in root.get("required", [])}
        return {name: value for name, value in merged.items() if _says(value) or name not in optional}
    if all(isinstance(part, list) for part in said):
        lists = [[each for each in part if _says(each)] for part in said]
        keys = [dict.fromkeys(map(_key, part)) for part in lists]
        return _often(keys, [each for part in lists for each in part])[: root.get("maxItems")]
    return _often([[_key(part)] for part in said], said)[0]


def _says(value: Any) -> bool:
    """Whether it is more than null, a blank, or an object of these."""
    if isinstance(value, dict):
        return any(_says(each) and each != [] for each in value.values())
    return value is not None and value != ""


def _often(keys: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Each value once, those that most pieces name first."""
    times = Counter(key for part in keys for key in part)
    first: dict[str, Any] = {}
    for value in values:
        first.setdefault(_key(value), value)
    return [first[key] for key in sorted(first, key=lambda key: -times[key])]


def _key(value: Any) -> str:
    """What two values have in common that say the same."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return " ".join(text.casefold().split())


def _root(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a schema is about: behind a reference, or beside null."""
    definitions, seen = {**schema.get("definitions", {}), **schema.get("$defs", {})}, set[str]()
    at: Any = schema
    while isinstance(at, Mapping):
        kinds = [each for each in at.get("anyOf", []) if each != {"type": "null"}]
        reference = str(at.get("$ref", ""))
        if reference and reference not in seen:
            seen.add(reference)
            at = definitions.get(reference.rpartition("/")[2], {})
        elif len(kinds) == 1:
            at = kinds[0]
        else:
            return at
    return {}


def _within(schema: Mapping[str, Any], inner: Any) -> dict[str, Any]:
    """A field's schema, with the definitions that it may refer to."""
    return {**_definitions(schema), **(inner if isinstance(inner, Mapping) else {})}


def _definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in ("$defs", "definitions") if key in schema}


def _nullable(schema: Any) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}
