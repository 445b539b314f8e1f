"""Between LangChain's messages and text that any database can hold. Knows no database.

What is read back is data: a message becomes one of four classes by its `type`, and a dictionary inside it stays a
dictionary, whatever its keys say. LangChain's `load`, which builds objects from `{"lc": 1, …}`, is not used.
"""

import json
import unicodedata
from typing import cast

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_chunk_to_message,
    message_to_dict,
)

from phireside.errors import StoreError
from phireside.memory.schema import JSON
from phireside.text import clean_text, json_text

KINDS: dict[str, type[BaseMessage]] = {
    "human": HumanMessage,
    "ai": AIMessage,
    "system": SystemMessage,
    "tool": ToolMessage,
}


def column_text(text: str) -> str:
    """`clean_text`, and U+FFFD for NUL, which PostgreSQL cannot hold outside of JSON's escapes."""
    return clean_text(text).replace("\0", "\ufffd")


def fold(text: str) -> str:
    """`text` for a search that is blind to case, to composed or decomposed letters, and to the kind of white space.

    Canonical caseless matching of the Unicode Standard, section 3.13. SQLite's LIKE knows the case of ASCII only, and
    PostgreSQL's depends on the server's locale.
    """
    folded = unicodedata.normalize("NFD", column_text(text)).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


def to_json(value: object, *, indent: int | None = None) -> str:
    """JSON text. What JSON lacks becomes what is nearest: NaN null, a tuple a list, any other object its `str`.

    Raises:
        StoreError: nested too deeply, or a whole number of thousands of digits.
    """
    return json_text(value, StoreError, indent=indent)


def from_json(text: str) -> JSON:
    """The value of JSON text that `to_json` wrote.

    Raises:
        StoreError: it is not JSON.
    """
    try:
        return cast(JSON, json.loads(text))
    except (RecursionError, ValueError) as error:
        raise StoreError(f"A stored value is not JSON: {error}.", hint=_DAMAGED) from error


def message_to_data(message: BaseMessage) -> dict[str, object]:
    """LangChain's own form, `{"type": …, "data": {…}}`; a chunk becomes the message that it is a part of.

    Raises:
        StoreError: neither a human, AI, system nor tool message.
    """
    whole = message_chunk_to_message(message)
    if not isinstance(whole, KINDS.get(whole.type, ())):
        raise StoreError(
            f"A {type(message).__name__} cannot be saved in a conversation.",
            hint=f"Use one of {', '.join(kind.__name__ for kind in KINDS.values())}. Nothing was saved.",
        )
    return message_to_dict(whole)


def message_from_json(text: str) -> BaseMessage:
    """The message of a stored payload.

    Raises:
        StoreError: the payload is damaged, or of a kind that is not one of the four.
    """
    try:
        record = json.loads(text)
        return KINDS[record["type"]](**record["data"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:  # pydantic's ValidationError is a ValueError
        raise StoreError(f"A stored message cannot be read ({type(error).__name__}).", hint=_DAMAGED) from error


_DAMAGED = "The database was damaged or written by another program: bring back your last copy of it."
