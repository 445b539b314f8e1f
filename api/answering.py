"""Who answers a conversation: a model, the agent, or documents; each gives pieces of one kind.

Knows models, agents and documents, and nothing of HTTP or of how a piece is written.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage

from phireside.api.errors import dumps, of_servers
from phireside.api.messages import asked_last, to_messages
from phireside.api.parts import AGENT, BASE, Parts, has_engine, tuned
from phireside.api.plain import plain, references, step
from phireside.api.requests import ChatRequest
from phireside.chains import Cost
from phireside.chains.loop import merged
from phireside.chains.rag import RagChain
from phireside.errors import NotSupportedError
from phireside.models import ChatGGUF
from phireside.models.sampling import for_sources

_LLAMA_ONLY = ("top_k", "min_p", "repeat_penalty")


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer.

    Attributes:
        text: of the answer.
        thought: that came before it.
        calls: of tools, as the deltas of a stream have them.
        beside: what stands beside the answer: lists grow from piece to piece.
        finish: why it ended, with the last piece: "stop", "length" or "tool_calls".
        cost: with the last piece; None if the model does not say.
    """

    text: str = ""
    thought: str = ""
    calls: tuple[dict[str, Any], ...] = ()
    beside: dict[str, Any] = field(default_factory=dict)
    finish: str = ""
    cost: Cost | None = None


Pieces = AsyncGenerator[Piece, None]


async def answers(parts: Parts, asked: ChatRequest) -> AsyncGenerator[tuple[int, Piece], None]:
    """The pieces of all answers, each with its answer's number from 0.

    Raises:
        PhiresideError: the request cannot be answered.
    """
    count = asked.n or 1
    with parts.gate.entered(count), of_servers():
        begin = await _answerer(parts, asked)
        if count == 1:
            async with aclosing(begin(0)) as pieces:
                async for piece in pieces:
                    yield 0, piece
            return
        async with aclosing(merged({number: begin(number) for number in range(count)})) as several:
            async for each in several:
                yield each


async def _answerer(parts: Parts, asked: ChatRequest) -> Callable[[int], Pieces]:
    """Begins the answer of a number."""
    messages = to_messages(asked.messages)
    if asked.model == AGENT or asked.model.startswith(BASE):
        _check_simple(asked)
        model = for_sources(tuned(await parts.model(), _own_settings(asked)))
        if asked.model == AGENT:
            return lambda _: _by_agent(parts, model, messages)
        base = asked.model.removeprefix(BASE)
        await asyncio.to_thread(parts.check_base, base)
        return lambda _: _from_documents(parts, model, base, messages, asked.limit)
    model, sampling = await parts.model(asked.model), asked.sampling()
    arguments = asked.form() | _limits(asked, model) | sampling
    if not has_engine(model) and (unknown := [name for name in _LLAMA_ONLY if name in sampling]):
        raise NotSupportedError(f"{asked.model} has no {', '.join(unknown)}.", hint="Leave it out.")

    def begin(number: int) -> Pieces:
        own = arguments | ({"seed": (sampling["seed"] + number) % 2**32} if "seed" in sampling else {})
        return _by_model(model, messages, own)

    return begin


def _limits(asked: ChatRequest, model: BaseChatModel) -> dict[str, Any]:
    """Where an answer ends. Without a limit of the request there is none, as with OpenAI."""
    limit = {"max_tokens": asked.limit} if asked.limit or has_engine(model) else {}
    stops = asked.stops()
    return limit | ({"stop": stops} if stops else {})


def _own_settings(asked: ChatRequest) -> dict[str, Any]:
    """Of the request, what agents and documents can heed."""
    given = asked.sampling()
    return given | ({"max_tokens": asked.limit} if asked.limit and asked.model == AGENT else {})


def _check_simple(asked: ChatRequest) -> None:
    """Raises NotSupportedError for what only a model alone can do."""
    wanted = {"n above 1": (asked.n or 1) > 1, "stop": bool(asked.stops()), **dict.fromkeys(asked.form(), True)}
    if refused := [name for name, is_wanted in wanted.items() if is_wanted]:
        raise NotSupportedError(
            f"{asked.model} answers without {', '.join(refused)}.", hint='Leave it out, or use the model "chat".'
        )


# ---- a model ----------------------------------------------------------------------------------------------------


async def _by_model(model: BaseChatModel, messages: list[BaseMessage], arguments: dict[str, Any]) -> Pieces:
    reader = _Reader()
    async with aclosing(_streamed(model, messages, arguments)) as several:
        async for chunks in several:
            piece = reader.read(chunks)
            if piece.text or piece.thought or piece.calls:
                yield piece
    yield reader.last()


async def _streamed(
    model: BaseChatModel, messages: list[BaseMessage], arguments: dict[str, Any]
) -> AsyncGenerator[Sequence[str | AIMessage], None]:
    """What has come meanwhile. Of our own model without what LangChain makes of it, unless somebody listens there."""
    if isinstance(model, ChatGGUF) and not _is_watched(model):
        async with aclosing(model.pieces(messages, **arguments)) as several:
            async for pieces in several:
                yield pieces
        return
    stream = cast("AsyncGenerator[AIMessageChunk, None]", model.astream(messages, **arguments))
    async with aclosing(stream) as chunks:
        async for chunk in chunks:
            yield [chunk]


def _is_watched(model: BaseChatModel) -> bool:
    """Whether there are callbacks (tracing is one), or a limit of LangChain's."""
    return bool(AsyncCallbackManager.configure(model.callbacks, verbose=model.verbose).handlers or model.rate_limiter)


class _Reader:
    """Makes pieces of LangChain's chunks."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}  # of calls, by LangChain's
        self._finish = "stop"
        self._cost: Cost | None = None

    def read(self, chunks: Sequence[str | AIMessage]) -> Piece:
        """Chunks that came at once as one piece; some models do not stream, and give a message."""
        texts, thoughts, calls = [], [], []
        for chunk in chunks:
            if isinstance(chunk, str):
                texts.append(chunk)
                continue
            texts.append(chunk.text)
            thoughts.append(chunk.additional_kwargs.get("reasoning_content") or "")
            calls += [self._call(each) for each in _calls(chunk)]
            self._note(chunk)
        return Piece("".join(texts), "".join(thoughts), tuple(calls))

    def _note(self, chunk: AIMessage) -> None:
        """Why it ended and what it cost, if the chunk says so."""
        if chunk.response_metadata.get("finish_reason") == "length":
            self._finish = "length"
        if chunk.usage_metadata:
            cost = Cost.of([chunk])
            self._cost = self._cost + cost if self._cost else cost

    def _call(self, given: Any) -> dict[str, Any]:
        """The delta of a call: its name and id come with the first one only."""
        key = given.get("index") if given.get("index") is not None else given.get("id")
        is_new = key not in self._numbers
        number = self._numbers.setdefault(key, len(self._numbers))
        arguments = {"arguments": given.get("args") or ""}
        if not is_new:
            return {"index": number, "function": arguments}
        named = {"name": given.get("name") or "", **arguments}
        return {"index": number, "id": given.get("id") or f"call_{number}", "type": "function", "function": named}

    def last(self) -> Piece:
        """The end."""
        finish = "tool_calls" if self._numbers and self._finish == "stop" else self._finish
        return Piece(finish=finish, cost=self._cost)


def _calls(message: AIMessage) -> Sequence[Any]:
    """The calls of a chunk, or of a whole message as if it were one."""
    if isinstance(message, AIMessageChunk):
        return message.tool_call_chunks
    calls = [{**each, "args": dumps(each["args"]).decode()} for each in message.tool_calls]
    return [*calls, *map(dict, message.invalid_tool_calls)]


# ---- the agent --------------------------------------------------------------------------------------------------


async def _by_agent(parts: Parts, model: BaseChatModel, messages: list[BaseMessage]) -> Pieces:
    """Its steps as they are done, then the answer."""
    from phireside.agents import asteps
    from phireside.api.agent import make_agent  # LangGraph takes a third of a second

    asked_last(messages)
    if type(model).bind_tools is BaseChatModel.bind_tools:
        raise NotSupportedError(f"{type(model).__name__} calls no tools.", hint='Use the model "chat".')
    told = "\n\n".join(each.text for each in messages if isinstance(each, SystemMessage))
    agent = await asyncio.to_thread(make_agent, model, parts.settings, parts.options, told)
    rest = [each for each in messages if not isinstance(each, SystemMessage)]
    text, cost = "", Cost()
    async with aclosing(_closable(asteps(agent, {"messages": rest}))) as steps:
        async for each in steps:
            cost += each.cost
            if each.kind == "answer":
                text = each.text
            else:
                yield Piece(beside={"steps": [step(each)]})
    yield Piece(text)
    yield Piece(finish="stop", cost=cost)


def _closable(steps: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    return cast("AsyncGenerator[Any, None]", steps)


# ---- documents --------------------------------------------------------------------------------------------------


async def _from_documents(
    parts: Parts, model: BaseChatModel, base: str, messages: list[BaseMessage], limit: int | None
) -> Pieces:
    """The answer once it has been checked: what nothing supports is withdrawn then, and a stream cannot take back."""
    question, history = asked_last(messages)
    chain = await asyncio.to_thread(_chain, parts, model, base, limit)
    answer = None
    async with aclosing(_closable(chain.astream({"question": question, "history": history}))) as growing:
        async for grown in growing:
            answer = grown
    if answer is None:
        yield Piece(finish="stop")
        return
    beside = {"references": references(answer), "claims": plain(answer.sentences), "known": answer.known}
    yield Piece(answer.text, beside=beside)
    yield Piece(finish="stop", cost=answer.cost)


def _chain(parts: Parts, model: BaseChatModel, base: str, limit: int | None) -> RagChain:
    """The chain over a base, which is opened with the app's embedding model if it is not open yet."""
    from phireside.agents.assistant import knowledge_base, rag

    knowledge_base(base, parts.settings, parts.embeddings)
    return rag(model, parts.settings, base, **({"max_tokens": limit} if limit else {}))
