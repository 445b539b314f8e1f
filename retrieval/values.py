"""Between a person's values and what SQLite can hold and filter by. Knows no table.

What is read back is data: a dictionary stays a dictionary, whatever its keys say.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from phireside.errors import IndexDamagedError, KnowledgeError
from phireside.text import json_text

Scalar: TypeAlias = str | int | float | bool

LARGEST = 2**63 - 1  # whole number that SQLite can hold


def to_json(metadata: Mapping[str, Any]) -> str:
    """JSON text. What JSON lacks becomes what is nearest: NaN null, a tuple a list, any other object its `str`.

    Raises:
        KnowledgeError: no mapping, nested too deeply, or a whole number of thousands of digits.
    """
    if not isinstance(metadata, Mapping):
        raise KnowledgeError(f"The metadata are {metadata!r:.80}.", hint="Give a dictionary of JSON values.")
    return json_text(dict(metadata), KnowledgeError)


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
    return isinstance(value, str | float | bool) or (isinstance(value, int) and -LARGEST - 1 <= value <= LARGEST)
