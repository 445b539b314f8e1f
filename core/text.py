"""Anybody's texts and values as what any database can hold: valid Unicode, and JSON. Knows no database."""

import json
import math
from typing import Protocol


class Failure(Protocol):
    """A class of `phireside.errors`."""

    def __call__(self, message: str, *, hint: str) -> Exception:  # noqa: D102
        ...


def clean_text(text: str) -> str:
    """`text` as valid Unicode: a surrogate pair becomes its character, a lone surrogate U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def json_text(value: object, failure: Failure, *, indent: int | None = None) -> str:
    """JSON text. What JSON lacks becomes what is nearest: NaN null, a tuple a list, any other object its `str`.

    Args:
        value: anything.
        failure: raised if it is nested too deeply, or has a whole number of thousands of digits.
        indent: as for `json.dumps`.
    """
    try:
        return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, indent=indent)
    except (RecursionError, ValueError) as error:
        raise failure(
            f"A value cannot be written as JSON: {error}.", hint="Nothing was saved. Shorten or flatten the value."
        ) from error


def _plain(value: object) -> object:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, dict):
        return {clean_text(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return clean_text(str(value))
