"""Between a person's values and what SQLite can hold and filter by. Knows no table.

What is read back is data: a dictionary stays a dictionary, whatever its keys say.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from phireside.errors import IndexDamagedError, KnowledgeError

Scalar: TypeAlias = str | int | float | bool


def clean_text(text: str) -> str:
    """`text` as valid Unicode: a surrogate pair becomes its character, a lone surrogate U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def to_json(metadata: Mapping[str, Any]) -> str:
    """JSON text. What JSON lacks becomes what is nearest: NaN null, a tuple a list, any other object its `str`.

    Raises:
        KnowledgeError: nested too deeply, or a whole number of thousands of digits.
    """
    try:
        return json.dumps(_plain(dict(metadata)), ensure_ascii=False, allow_nan=False)
    except (RecursionError, ValueError) as error:
        raise KnowledgeError(
            f"Metadata cannot be written as JSON: {error}.", hint="Nothing was saved. Shorten or flatten the value."
        ) from error


def from_json(text: str) -> dict[str, Any]:
    """What `to_json` wrote.

    Raises:
        IndexDamagedError: it is no longer that.
    """
    try:
        value = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise IndexDamagedError(f"Stored metadata is not JSON: {error}.", hint="Add the document again.") from error
    return value if isinstance(value, dict) else {}


def facts(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Scalar]]:
    """Keys and values that can be filtered by: texts, numbers and truth values, and those in lists."""
    for key, value in metadata.items():
        for each in value if isinstance(value, list) else [value]:
            if is_scalar(each):
                yield key, each


def is_scalar(value: object) -> bool:
    """Whether SQLite can hold it: whole numbers have 64 bits."""
    return isinstance(value, str | float | bool) or (isinstance(value, int) and -(2**63) <= value < 2**63)


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
