"""Results of chains, tools and searches as JSON has them. Knows nothing of what they mean."""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from phireside.chains.rag import Answer
from phireside.retrieval.names import shown_source

if TYPE_CHECKING:
    from phireside.agents import Step  # LangGraph takes a third of a second


def plain(value: Any) -> Any:
    """A value in JSON's types: objects by their fields, messages by their text, what JSON lacks by its name."""
    if value is None or (isinstance(value, bool | int | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, BaseMessage):
        return value.text
    if isinstance(value, Document):
        return {"id": value.id, "text": value.page_content, "metadata": plain(value.metadata)}
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, Sequence | Set) and not isinstance(value, bytes):
        return [plain(each) for each in value]
    return str(value)


def references(answer: Answer) -> list[dict[str, Any]]:
    """The passages that an answer from documents had before it, by the numbers that it cites."""
    cited = {number for claim in answer.sentences if claim.verdict != "none" for number in claim.cited}
    return [
        {
            "number": number,
            "cited": answer.known and number in cited,
            "id": passage.id,
            "text": passage.page_content,
            "source": shown_source(passage.metadata) or None,
            **{name: plain(passage.metadata.get(name)) for name in ("document", "title", "heading", "page", "ranks")},
        }
        for number, passage in enumerate(answer.passages, 1)
    ]


def step(given: "Step") -> dict[str, Any]:
    """A step of an agent."""
    return {name: each for name, each in plain(given).items() if each not in ("", {}, None) and name != "cost"}
