"""Answers a chat's question by an agent with tools: `build_agent` as an `Answerer`, with its steps and approvals.

What it says to its tools, and they to it, is saved between question and answer, as it was read. Knows no tool.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from functools import cached_property
from typing import Any, cast

from langchain.agents.middleware.types import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from phireside.agents.build import Limits, build_agent
from phireside.agents.policies.marks import is_untrusted
from phireside.agents.policies.sums import Sums
from phireside.agents.policies.turn import READ, UNREAD
from phireside.agents.policies.untrusted import RULE
from phireside.agents.steps import Step, StepReader, messages_in
from phireside.chains.answering import claim_row, measured, passage_row
from phireside.chains.rag.answer import claims
from phireside.chains.rag.support import Support
from phireside.chains.turn import Turn
from phireside.errors import NotSupportedError, PhiresideError
from phireside.memory import counter_of
from phireside.memory.budget import UNLIMITED
from phireside.memory.schema import OURS
from phireside.memory.turns import is_finished
from phireside.models import ChatGGUF
from phireside.models.messages import explained

Failed = Callable[[str, PhiresideError], None]
MakeTools = Callable[[Failed], Sequence[BaseTool]]

_PASSAGE = {"number", "text", "metadata"}
_OBSERVATIONS = 3  # that room is made for
_NOT_RUN = "The person stopped the answer: this was not carried out."
_UNKNOWN = "The person stopped the answer before there was a result; whether this was carried out is not known."


class WithTools:
    """Answers as an agent of `build_agent` does; see `Answerer`. For one turn.

    Args:
        model: who decides and writes.
        tools: makes them; called in a thread, with a function that takes the name and the error of each that cannot be
            made: the agent goes on without it, and a step says so.
        base: name of the base that the tool `knowledge` searches, for people.
        limits: of the turn.
    """

    def __init__(
        self,
        model: BaseChatModel,
        tools: MakeTools,
        base: str = "",
        *,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
    ) -> None:
        self._model, self._make, self._base, self._limits = model, tools, base, limits
        self._problems: list[tuple[str, PhiresideError]] = []

    @cached_property
    def _tools(self) -> list[BaseTool]:
        return list(self._make(lambda name, error: self._problems.append((name, error))))

    def needs(self, room: int) -> dict[str, int]:
        """The tools' descriptions, and a third of what is left for calls and results."""
        rule = f"\n\n{RULE}" if any(map(is_untrusted, self._tools)) else ""
        plain, told = ([SystemMessage(text), HumanMessage("?")] for text in ("Help.", f"Help.{rule}"))
        tools = counter_of(self._model, self._tools)(told) - counter_of(self._model)(plain)
        if room == UNLIMITED:
            return {"tools": tools}
        results = _OBSERVATIONS * self._limits.observation_tokens
        return {"tools": tools, "answer": min(results, max(0, room - tools) // 3)}

    async def answer(self, messages: Sequence[BaseMessage], turn: Turn) -> AsyncIterator[AIMessageChunk]:
        """See `Answerer`."""
        tools = await asyncio.to_thread(lambda: self._tools)
        for name, error in self._problems:
            turn.note({"kind": "observation", "tool": name, "text": str(error)})
        system, conversation = _parted(messages)
        agent = build_agent(
            self._model,
            tools,
            system_prompt=system,
            limits=self._limits,
            checkpointer=InMemorySaver(),
            middleware=[Sums(), *([_Kept(turn.conversation_id)] if isinstance(self._model, ChatGGUF) else [])],
        )
        config: RunnableConfig = {"configurable": {"thread_id": turn.conversation_id}}
        watching = _Watching(turn, conversation)
        given: Any = {"messages": conversation}
        try:
            while given is not None:
                stream = agent.astream(given, config, stream_mode=["updates", "messages"])
                async with aclosing(cast("AsyncGenerator[Any, None]", stream)) as news:
                    async for mode, each in news:
                        for chunk in watching.read(mode, each):
                            yield chunk
                given = await _decided(turn, watching.asked())
        except NotImplementedError as error:
            if isinstance(error, PhiresideError):
                raise
            raise NotSupportedError(
                f"{type(self._model).__name__} cannot call tools.", hint="Switch the tools off, or use another model."
            ) from error
        except asyncio.CancelledError:
            turn.messages = _closed(turn.messages, _NOT_RUN if turn.state == "asking" else _UNKNOWN)
            raise
        if watching.last:
            turn.rewrite(await self._whole(watching.last, watching.passages, turn))

    async def _whole(self, answer: AIMessage, passages: Sequence[dict[str, Any]], turn: Turn) -> AIMessageChunk:
        """The answer as it is saved, with the passages that it may cite."""
        ours: dict[str, Any] = {"base": self._base} if self._base else {}
        if passages:
            texts = {each["number"]: each["text"] for each in passages}
            said = [each for each in claims(answer.text) if each.cited and set(each.cited) <= texts.keys()]
            listed = [texts.get(number, "") for number in range(1, max(texts) + 1)]
            checked, _ = await Support().check(said, listed, turn.question.text)
            ours |= {"passages": list(passages), "claims": [claim_row(each) for each in checked]}
        if turn.context and answer.usage_metadata:
            turn.context = measured(turn.context, answer.usage_metadata["input_tokens"])
        return AIMessageChunk(
            content=answer.content,
            additional_kwargs={**answer.additional_kwargs, **({OURS: ours} if ours else {})},
            response_metadata=answer.response_metadata,
            usage_metadata=answer.usage_metadata,
            id=answer.id,
        )


class _Watching:
    """Reads an agent's news into a turn.

    Args:
        turn: gets steps and messages.
        known: the conversation, which is no news.

    Attributes:
        last: the last message, if it is an answer.
        passages: those that `knowledge` found, as `passage_row` has them.
    """

    def __init__(self, turn: Turn, known: Sequence[BaseMessage]) -> None:
        self._turn, self._steps = turn, StepReader(known)
        self._made: dict[str, BaseMessage] = {}
        self._writing: str | None = None  # id of the message that is being streamed
        self._asked: list[dict[str, Any]] = []
        self.last: AIMessage | None = None
        self.passages: list[dict[str, Any]] = []

    def read(self, mode: str, news: Any) -> Iterator[AIMessageChunk]:
        """What is written, piece by piece; all else goes into the turn."""
        if mode == "messages":
            message, metadata = news
            if isinstance(message, AIMessageChunk) and metadata.get("langgraph_node") == "model" and message.text:
                if message.id != self._writing:  # the model was asked once more: what it said before does not count
                    self._withdraw()
                self._writing = message.id
                yield AIMessageChunk(content=message.text)
            return
        for message in messages_in(news):
            self._keep(message)
        for step in self._steps.read(news):
            self._tell(step)

    def asked(self) -> list[dict[str, Any]]:
        """The calls that wait for approval since this was last asked."""
        asked, self._asked = self._asked, []
        return asked

    def _keep(self, message: BaseMessage) -> None:
        if not isinstance(message, AIMessage | ToolMessage):
            return
        self._made[message.id or str(len(self._made))] = message
        made = list(self._made.values())
        self.last = made[-1] if is_finished(made) and isinstance(made[-1], AIMessage) else None
        self._turn.messages = [_slim(each) for each in (made[:-1] if self.last else made)]
        if isinstance(message, ToolMessage):
            self.passages += _passages(message, {each["number"] for each in self.passages})
        elif not self.last:
            self._withdraw()

    def _tell(self, step: Step) -> None:
        if step.kind == "approval":
            self._asked.append({"tool": step.tool, "arguments": dict(step.arguments), "text": step.text})
        elif step.kind != "answer":
            said = {"text": step.text, "tool": step.tool, "arguments": dict(step.arguments), "seconds": step.seconds}
            cost = asdict(step.cost) if step.cost.calls else None
            self._turn.note({"kind": step.kind, **{key: each for key, each in {**said, "cost": cost}.items() if each}})

    def _withdraw(self) -> None:
        """What was streamed is no part of the answer."""
        if self._turn.text:
            self._turn.rewrite(AIMessageChunk(content=""))


class _Kept(AgentMiddleware[Any, Any, Any]):
    """Has the prompts' KV state kept on disk, and says why a call is an invalid one.

    Args:
        keep: the conversation's id: what is forgotten of it is then forgotten there, too.
    """

    def __init__(self, keep: str) -> None:
        super().__init__()
        self._keep = keep

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """LangChain's."""
        response = await handler(request.override(model_settings={**request.model_settings, "keep": self._keep}))
        said = [ChatGeneration(message=each) for each in response.result if isinstance(each, AIMessage)]
        explained(ChatResult(generations=said))  # ChatGGUF does it only where nobody reads along
        return response


async def _decided(turn: Turn, asked: Sequence[Mapping[str, Any]]) -> Command[Any] | None:
    """What an agent that waits is told; None = it does not wait."""
    return Command(resume={"decisions": await turn.ask(asked)}) if asked else None


def _parted(messages: Sequence[BaseMessage]) -> tuple[str, list[BaseMessage]]:
    """The system texts in front, as one, and the conversation behind them."""
    first = next((at for at, each in enumerate(messages) if not isinstance(each, SystemMessage)), len(messages))
    return "\n\n".join(each.text for each in messages[:first]), list(messages[first:])


def _slim(message: BaseMessage) -> BaseMessage:
    """A message to save: of a result what the model read, and neither what else there was to read nor its objects."""
    if not isinstance(message, ToolMessage):
        return message
    metadata = {key: value for key, value in message.response_metadata.items() if key not in (UNREAD, READ)}
    return message.model_copy(update={"response_metadata": metadata, "artifact": None})


def _passages(message: ToolMessage, known: Collection[int]) -> list[dict[str, Any]]:
    """Those that a call of `knowledge` found, and no call before it."""
    rows = message.artifact if isinstance(message.artifact, list) else []
    fresh = {row["number"]: row for row in rows if isinstance(row, dict) and row.keys() >= _PASSAGE}
    return [
        passage_row(number, Document(row["text"], metadata=row["metadata"]))
        for number, row in sorted(fresh.items())
        if number not in known
    ]


def _closed(messages: Sequence[BaseMessage], why: str) -> list[BaseMessage]:
    """The messages with a result for each call; of those that have none: why."""
    given = {each.tool_call_id for each in messages if isinstance(each, ToolMessage)}
    last = next((each for each in reversed(messages) if isinstance(each, AIMessage)), AIMessage(""))
    missing = [call for call in [*last.tool_calls, *last.invalid_tool_calls] if call["id"] not in given]
    return [
        *messages,
        *(ToolMessage(why, tool_call_id=each["id"] or "", name=each["name"], status="error") for each in missing),
    ]
