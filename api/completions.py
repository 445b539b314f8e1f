"""`POST /v1/chat/completions`, as OpenAI's: https://platform.openai.com/docs/api-reference/chat

Writes pieces down in OpenAI's form. Knows nothing of who gives them.
"""

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from phireside import __version__
from phireside.api.answering import Piece, answers
from phireside.api.errors import dumps
from phireside.api.parts import Parts, parts_of
from phireside.api.requests import ChatRequest
from phireside.api.schemas import ChatAnswer
from phireside.api.streaming import Events, EventStream, Whole, event
from phireside.chains import Cost

router = APIRouter(tags=["chat"])
_EVENTS = "The data of each event is a chat.completion.chunk as JSON; that of the last is [DONE]."


@router.post(
    "/v1/chat/completions",
    summary="Answer a conversation",
    response_model=ChatAnswer,
    responses={200: {"content": {"text/event-stream": {"schema": {"description": _EVENTS}}}}},
)
async def chat_completions(request: Request, asked: ChatRequest) -> Response:
    """Answers by a model (`chat`, or a name of /v1/models), by the `agent`, or from documents (`rag:BASE`).

    With `stream`, server-sent events; the last is `[DONE]`. The answer of `rag:BASE` has `references`, `claims` and
    `known` beside its content, that of `agent` its `steps`.
    """
    writing = _Writing(parts_of(request), asked)
    return EventStream(writing.events()) if asked.stream else Whole(writing.whole)


@dataclass
class _Answer:
    """One answer, as far as it is there."""

    text: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    beside: dict[str, Any] = field(default_factory=dict)
    finish: str = "stop"

    def add(self, piece: Piece) -> None:
        """What came next."""
        self.text.append(piece.text)
        self.thought.append(piece.thought)
        for delta in piece.calls:
            if "id" in delta:
                self.calls.append({**{k: delta[k] for k in ("id", "type")}, "function": dict(delta["function"])})
            else:
                self.calls[delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]
        for name, value in piece.beside.items():
            self.beside[name] = [*self.beside.get(name, []), *value] if isinstance(value, list) else value
        self.finish = piece.finish or self.finish

    def choice(self, number: int) -> dict[str, Any]:
        """In OpenAI's form."""
        text, thought = "".join(self.text), "".join(self.thought)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text or (None if self.calls else ""),
            "refusal": None,
        }
        message |= {"reasoning_content": thought} if thought else {}
        message |= {"tool_calls": self.calls} if self.calls else {}
        return {"index": number, "message": message | self.beside, "logprobs": None, "finish_reason": self.finish}


class _Writing:
    """A request that is being answered."""

    def __init__(self, parts: Parts, asked: ChatRequest) -> None:
        self._parts, self._asked = parts, asked
        self._costs: list[Cost] = []
        self._began = time.monotonic()
        self._head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion.chunk" if asked.stream else "chat.completion",
            "created": int(time.time()),
            "model": asked.model,
            "system_fingerprint": f"phireside-{__version__}",
        }
        # What all events have in common is written once.
        self._before = dumps(self._head)[:-1] + b',"choices":['
        self._behind = b'],"usage":null}' if asked.wants_usage else b"]}"

    async def whole(self) -> dict[str, Any]:
        """The answers, when they are all there."""
        written = [_Answer() for _ in range(self._asked.n or 1)]
        async with aclosing(self._pieces()) as pieces:
            async for number, piece in pieces:
                written[number].add(piece)
        choices = [answer.choice(number) for number, answer in enumerate(written)]
        return self._head | {"choices": choices, "usage": self._usage()}

    async def events(self) -> Events:
        """The answers as they grow."""
        begun: set[int] = set()
        async with aclosing(self._pieces()) as pieces:
            async for number, piece in pieces:
                parts = []
                if number not in begun:
                    begun.add(number)
                    parts.append(self._event(number, {"role": "assistant", "content": "", "refusal": None}))
                if delta := _delta(piece):
                    parts.append(self._event(number, delta))
                if piece.finish:
                    parts.append(self._event(number, {}, piece.finish))
                if parts:
                    yield b"".join(parts)
        if self._asked.wants_usage:
            yield event(dumps(self._head | {"choices": [], "usage": self._usage()}))

    async def _pieces(self) -> AsyncGenerator[tuple[int, Piece], None]:
        """The pieces, of which the counters are told."""
        metrics, is_first = self._parts.metrics, True
        async with aclosing(answers(self._parts, self._asked)) as pieces:
            async for number, piece in pieces:
                if is_first:
                    metrics.first_piece.observe(time.monotonic() - self._began)
                    is_first = False
                if piece.cost:
                    self._costs.append(piece.cost)
                    metrics.count_tokens(piece.cost)
                yield number, piece

    def _event(self, number: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = dumps({"index": number, "delta": delta, "logprobs": None, "finish_reason": finish})
        return event(self._before + choice + self._behind)

    def _usage(self) -> dict[str, Any] | None:
        """What all answers have cost; their one prompt counts once. None if nobody said."""
        if not self._costs:
            return None
        first, written = self._costs[0], sum(each.generated_tokens for each in self._costs)
        return {
            "prompt_tokens": first.prompt_tokens,
            "completion_tokens": written,
            "total_tokens": first.prompt_tokens + written,
            "prompt_tokens_details": {"cached_tokens": first.cached_tokens, "audio_tokens": 0},
        }


def _delta(piece: Piece) -> dict[str, Any]:
    """What a piece adds to a message."""
    delta: dict[str, Any] = {"content": piece.text} if piece.text else {}
    delta |= {"reasoning_content": piece.thought} if piece.thought else {}
    delta |= {"tool_calls": list(piece.calls)} if piece.calls else {}
    return delta | piece.beside
