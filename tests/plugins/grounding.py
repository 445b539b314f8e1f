"""What tests of answers from documents share: passages, retrievers, and a model with an engine's parts."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.retrievers import BaseRetriever
from scoring import Scoring

TEXTS = (
    "The lease can be ended with three months' notice.",
    "The deposit is two monthly rents. It is paid back within 30 days.",
    "Dogs are allowed in the garden.",
)
PASSAGES = tuple(Document(text, id=f"p{n}", metadata={"source": f"s{n}.txt"}) for n, text in enumerate(TEXTS, 1))


class Finding(BaseRetriever):
    """Finds what `rule(query)` says; `asked` has the queries."""

    rule: Callable[[str], Sequence[Document]]
    asked: Any

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        self.asked.append(query)
        return list(self.rule(query))


def finding(*documents: Document, rule: Callable[[str], Sequence[Document]] | None = None) -> Finding:
    """A retriever that finds these, or what a rule says."""
    return Finding(rule=rule or (lambda query: documents), asked=[])


class Grounded(Scoring):
    """A `ChatGGUF` that says what `says(messages)` gives, piece by piece, and counts words; loads nothing."""

    says: Callable[[list[BaseMessage]], str]
    size: int = 400
    arguments: Any = None

    @property
    def context_size(self) -> int:
        return self.size

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        self.arguments.append((messages, kwargs))
        for piece in self.says(messages).split(" "):
            yield ChatGenerationChunk(message=AIMessageChunk(f"{piece} "))
        yield ChatGenerationChunk(message=AIMessageChunk("", chunk_position="last"))


def grounded(
    says: Callable[[list[BaseMessage]], str] | str,
    rule: Callable[[str, str], float] = lambda prompt, text: 0.0,
    **fields: Any,
) -> Grounded:
    """A model with grammars and scores that says a text, or what a rule makes of the messages."""
    said = (lambda messages: says) if isinstance(says, str) else says
    return Grounded(says=said, rule=rule, asked=[], arguments=[], **fields)
