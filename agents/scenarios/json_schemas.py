"""JSON schemas of scenarios. They are data: nothing that they name is fetched or read."""

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, SchemaError
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from phireside.agents.scenarios.patterns import check_pattern, found

_REFERENCES = ("$ref", "$dynamicRef")
_SEARCHES = {"unevaluatedProperties", "patternProperties"}
_SAMPLES: tuple[Any, ...] = (None, True, 0, "", [], {})  # a schema without an end has none for these either


def checked_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema.

    Raises:
        ValueError: it is none, refers to another one or to itself without end, or cannot be used here.
    """
    try:
        Draft202012Validator.check_schema(schema)
        parts = list(_parts(schema))
        for part in parts:
            _check_part(part, schema)
        if {key for part in parts for key in part} >= _SEARCHES:  # jsonschema would search with `re`
            raise ValueError("unevaluatedProperties cannot be used with patternProperties; use additionalProperties")
        for sample in _SAMPLES:
            first_problem(schema, sample)
    except SchemaError as error:
        raise ValueError(f"it is no JSON schema: {error.message}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep, or refers to itself without end") from error
    except Unresolvable as error:
        raise ValueError(f"there is nothing at {str(error.ref)[:80]!r} in it") from error
    return schema


def first_problem(schema: Mapping[str, Any], value: Any) -> str:
    """Why a value is not of a schema; empty if it is.

    Raises:
        ToolError: a pattern in it took too long.
        RecursionError: the value is nested too deep.
    """
    own = {key: each for key, each in schema.items() if key != "$schema"}  # which brings keywords that search with `re`
    problems = _Validator(own, registry=Registry()).iter_errors(value)
    return next((each.message for each in problems), "")


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """All mappings in a schema."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _check_part(part: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    for key in _REFERENCES:
        if isinstance(reference := part.get(key), str):
            if not reference.startswith("#"):
                raise ValueError(f"{key} {reference[:80]!r} leads out of the file; write it below $defs")
            Registry().resolver_with_root(DRAFT202012.create_resource(schema)).lookup(reference)
    if part is not schema and isinstance(part.get("$schema"), str):
        raise ValueError("$schema may stand only at its beginning")
    named = part.get("patternProperties")
    for pattern in [part.get("pattern"), *(named if isinstance(named, dict) else ())]:
        if isinstance(pattern, str):
            check_pattern(pattern)


# ---- the keywords that search: jsonschema's own use `re`, which has no limit of time ----


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:  # noqa: ARG001
    if validator.is_type(value, "string") and not found(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, value: Any, schema: Any) -> Iterator[ValidationError]:  # noqa: ARG001
    if validator.is_type(value, "object"):
        for pattern, inner in patterns.items():
            for name in value:
                if found(pattern, name):
                    yield from validator.descend(value[name], inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    patterns = schema.get("patternProperties", {})
    if validator.is_type(value, "object"):
        value = {name: each for name, each in value.items() if not any(found(pattern, name) for pattern in patterns)}
    rest = {key: each for key, each in schema.items() if key != "patternProperties"}
    yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, wanted, value, rest)


_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    },
)
