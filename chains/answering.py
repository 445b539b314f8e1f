"""Answers a chat's question from documents: `rag_chain` as an `Answerer`, with its steps, passages and verdicts.

Knows LangChain's retrievers and nothing of bases and tools.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, LLMResult

from phireside.chains.rag.answer import KEPT, PLACED, Answer, Claim, without_citations
from phireside.chains.rag.chain import Searchable, rag_chain
from phireside.chains.rag.placing import begun_anew, left_behind, numbered
from phireside.chains.turn import Turn
from phireside.memory import counter_of
from phireside.memory.budget import UNLIMITED
from phireside.memory.schema import OURS


class FromDocuments:
    """Answers by `rag_chain`; see `Answerer`.

    A question is saved with the passages that it put into the prompt, so that the next one finds them there and only
    what is new is read.

    Args:
        model: who writes.
        open: gives what is searched; called in a thread, with each turn.
        base: its name, for people.
        **how: further arguments of `rag_chain`.
    """

    def __init__(self, model: BaseChatModel, open: Callable[[], Searchable], base: str = "", **how: Any) -> None:
        self._model, self._open, self._base, self._how = model, open, base, how

    def needs(self, room: int) -> dict[str, int]:
        """Half of the room is for passages."""
        return {} if room == UNLIMITED else {"passages": room // 2}

    async def answer(self, messages: Sequence[BaseMessage], turn: Turn) -> AsyncIterator[AIMessageChunk]:
        """See `Answerer`."""
        history, kept = _conversation(messages[:-1]), None
        if turn.left_out or turn.summarized:
            history, kept = begun_anew(history)
        chain = rag_chain(self._model, await asyncio.to_thread(self._open), keep=turn.conversation_id, **self._how)
        notes, answer = _Notes(turn), Answer()
        given = {"question": messages[-1].text, "history": history}
        try:
            growing = cast("AsyncGenerator[Answer, None]", chain.astream(given, {"callbacks": [notes]}))
            async with aclosing(growing) as answers:
                async for later in answers:
                    turn.question = _asked(later, turn.question, kept)
                    if self._how.get("check", True) and answer.text and later.text == answer.text:
                        notes.checking()
                    if not later.text.startswith(answer.text):
                        turn.rewrite(AIMessageChunk(content=later.text))
                    elif piece := later.text[len(answer.text) :]:
                        yield AIMessageChunk(content=piece)
                    answer = later
        except asyncio.CancelledError:  # stopped: what was written keeps its passages
            turn.rewrite(self._whole(answer, notes))
            raise
        await asyncio.to_thread(self._measure, answer, notes, history, turn)
        turn.rewrite(self._whole(answer, notes))

    def _whole(self, answer: Answer, notes: "_Notes") -> AIMessageChunk:
        """The answer as it is saved."""
        ours = {
            "base": self._base,
            "known": answer.known,
            "passages": [passage_row(number, each) for number, each in enumerate(answer.passages, 1)],
            "claims": [claim_row(each) for each in answer.sentences],
        }
        cost = answer.cost
        usage = UsageMetadata(
            input_tokens=cost.prompt_tokens,
            output_tokens=cost.generated_tokens,
            total_tokens=cost.prompt_tokens + cost.generated_tokens,
            input_token_details={"cache_read": cost.cached_tokens},
        )
        return AIMessageChunk(
            content=answer.text,
            additional_kwargs={OURS: ours},
            usage_metadata=usage if cost.generated_tokens else None,
            response_metadata=notes.metadata,
        )

    def _measure(self, answer: Answer, notes: "_Notes", history: Sequence[BaseMessage], turn: Turn) -> None:
        """What the prompt really had, in the turn's figures."""
        turn.left_out += left_behind([*history, turn.question])
        if turn.context and notes.prompt_tokens:
            passages = counter_of(self._model)([HumanMessage(numbered(answer.passages) or ".")])
            turn.context = measured(turn.context, notes.prompt_tokens, passages=min(passages, notes.prompt_tokens))


class _Notes(AsyncCallbackHandler):
    """Tells a turn what a chain does, by LangChain's callbacks, and remembers its model's last message."""

    def __init__(self, turn: Turn) -> None:
        self._turn, self._began = turn, dict[UUID, tuple[str, float]]()
        self._checking = False
        self.metadata: dict[str, Any] = {}
        self.prompt_tokens = 0

    def checking(self) -> None:
        """Sentences are compared with passages; told once."""
        if not self._checking:
            self._checking = True
            self._turn.note({"kind": "checking"})

    async def on_retriever_start(self, serialized: Any, query: str, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002
        """LangChain's."""
        self._began[run_id] = query, time.monotonic()
        self._turn.note({"kind": "searching", "query": query})

    async def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002
        """LangChain's."""
        query, began = self._began.pop(run_id)
        rows = [passage_row(number, each) for number, each in enumerate(documents, 1)]
        for row in rows:
            del row["number"]  # that of a passage in the prompt may be another
        seconds = round(time.monotonic() - began, 4)
        self._turn.note({"kind": "found", "queries": [query], "passages": rows, "seconds": seconds})

    async def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:  # noqa: ARG002
        """LangChain's."""
        for generation in (each for several in response.generations for each in several):
            if isinstance(generation, ChatGeneration) and isinstance(message := generation.message, AIMessage):
                self.metadata = message.response_metadata
                self.prompt_tokens = message.usage_metadata["input_tokens"] if message.usage_metadata else 0


def passage_row(number: int, passage: Document) -> dict[str, Any]:
    """A passage as a page shows it: "number" (as in `[n]`), "id", "text", "source", "title", "place", "ranks"."""
    known = passage.metadata
    page = f"page {known['page']}" if known.get("page") else ""
    return {
        "number": number,
        "id": passage.id or "",
        "text": passage.page_content,
        "source": str(known.get("source") or ""),
        "title": str(known.get("title") or known.get("name") or ""),
        "place": ", ".join(filter(None, [str(known.get("heading") or ""), page])),
        "ranks": dict(known.get("ranks") or {}),
    }


def claim_row(claim: Claim) -> dict[str, Any]:
    """A claim as plain JSON."""
    return {"text": claim.text, "cited": list(claim.cited), "verdict": claim.verdict, "score": claim.score}


def measured(context: dict[str, int], prompt_tokens: int, **parts: int) -> dict[str, int]:
    """A context's report, corrected by what a prompt really had: `parts`, and as history all that is nothing else.

    Args:
        context: see `Budget.report`.
        prompt_tokens: of the prompt, as the model counted.
        **parts: in tokens.
    """
    found = {**context, **parts}
    found["history"] = max(0, prompt_tokens - sum(found[name] for name in ("system", "tools", "memory", "passages")))
    found["left"] = max(0, found["size"] - prompt_tokens - found["answer"])
    return found


def _conversation(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Questions and answers, without what tools were asked and said; `[n]` of their passages is nothing any more."""
    found: list[BaseMessage] = []
    placed = False
    for message in messages:
        if isinstance(message, ToolMessage) or (isinstance(message, AIMessage) and message.tool_calls):
            continue
        if isinstance(message, HumanMessage):
            placed = PLACED in message.additional_kwargs
        elif isinstance(message, AIMessage) and not placed and OURS in message.additional_kwargs:
            message = AIMessage(without_citations(message.text))
        found.append(message)
    return found


def _asked(answer: Answer, question: HumanMessage, kept: int | None) -> HumanMessage:
    """The question with the passages that it put into the prompt.

    Args:
        answer: as far as it is.
        question: as it is known.
        kept: messages of the conversation in a prompt that begins anew.
    """
    asked = answer.turn[0] if answer.turn else answer.question or question
    if kept is not None and PLACED in asked.additional_kwargs:
        asked.additional_kwargs.setdefault(KEPT, kept)
    return asked
