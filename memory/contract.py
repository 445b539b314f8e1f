"""What every memory can do: choose the messages to send, and say what is to be done after a turn.

One object serves three callers. `phireside.chains.Chat` calls `select` and `updates` with what its store has. In a
chain a memory is a step, `memory | prompt | model`. In an agent it is middleware, `create_agent(…,
middleware=[memory])`. Nothing of a conversation is kept in the object: one is enough for all conversations.

LangChain's agents take a tenth of a second and more to import, which programs that only store conversations need not
pay: `phireside.memory` imports this module when a memory is first asked for.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final, NotRequired

from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
    PrivateStateAttr,
)
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.types import Command

from phireside.errors import NotSupportedError, RequestError
from phireside.memory.budget import UNLIMITED, budget_of, counter_of
from phireside.memory.state import NOTHING, Compaction, CountTokens, MemoryState, Selection

STATE_KEY = "memory_state"
"""Where a chain's input may hold a `MemoryState`, and where an agent keeps its own."""

ROOM_KEY: Final = "memory_room"
"""See `MemoryAgentState`."""


class MemoryAgentState(AgentState[Any]):
    """An agent's state with a memory's beside the messages; saved by the agent's checkpointer as plain data.

    Attributes:
        memory_state: a `MemoryState`.
        memory_room: tokens that the agent's prompt has for messages; its system prompt and tools have the others.
    """

    memory_state: NotRequired[Annotated[dict[str, Any], PrivateStateAttr]]
    memory_room: NotRequired[Annotated[int, PrivateStateAttr]]


class Memory(Runnable[Any, Any], AgentMiddleware[MemoryAgentState, Any, Any]):
    """A way to make a conversation fit.

    A subclass writes `select`; one that makes something of old messages also `due` and `compact`. It must pass
    tests/memory/test_contract.py.

    Args:
        model: who counts tokens in a chain, and who writes summaries in an agent.
        budget: tokens that a prompt may have; None = the model's context less its answer, and where nobody knows that,
            as many as there are.
    """

    name: str = "Memory"
    state_schema = MemoryAgentState
    tools = ()

    def __init__(self, *, model: BaseChatModel | None = None, budget: int | None = None) -> None:
        if budget is not None and budget < 1:
            raise RequestError(f"The budget is {budget} tokens, but must be at least 1.")
        self.name = type(self).__name__  # LangChain's traces, and its check that no middleware is there twice
        self.model, self.budget = model, budget

    # ---- the contract ---------------------------------------------------------------------------------------------

    @abstractmethod
    def select(
        self,
        messages: Sequence[BaseMessage],
        budget: int,
        count_tokens: CountTokens,
        state: MemoryState = NOTHING,
    ) -> Selection:
        """The messages to send. Every system message and the last turn are among them; no tool call without its result.

        Between two compactions a longer conversation is sent with the same beginning, so that the model finds it in
        its cache.

        Args:
            messages: the conversation, with the new user message at its end.
            budget: tokens that the prompt may have.
            count_tokens: see `CountTokens`.
            state: what `compact` made of this conversation last; one that does not fit to it is ignored.

        Raises:
            ContextOverflowError: the system prompt and the last turn alone exceed the budget.
        """

    def due(
        self,
        messages: Sequence[BaseMessage],  # noqa: ARG002
        budget: int,  # noqa: ARG002
        count_tokens: CountTokens,  # noqa: ARG002
        state: MemoryState = NOTHING,  # noqa: ARG002
    ) -> Compaction | None:
        """What is to be done next, after a turn; None = nothing. The arguments are those of `select`."""
        return None

    async def compact(self, compaction: Compaction, model: BaseChatModel) -> MemoryState:  # noqa: ARG002
        """Do it, and give the new state. Changes nothing else; may be cancelled at any time.

        Args:
            compaction: from `due`.
            model: who writes.

        Raises:
            NotSupportedError: this memory makes nothing of old messages.
            EngineError: the model fails or writes nothing.
        """
        raise NotSupportedError(f"{self.name} has nothing to compact.")

    async def updates(
        self,
        messages: Sequence[BaseMessage],
        budget: int,
        count_tokens: CountTokens,
        state: MemoryState,
        model: BaseChatModel,
    ) -> AsyncIterator[MemoryState]:
        """All that is due after a turn, step by step: each state is complete and may be saved."""
        while compaction := await asyncio.to_thread(self.due, messages, budget, count_tokens, state):
            state = await self.compact(compaction, model)
            yield state

    @property
    def compacts(self) -> bool:
        """Whether anything can be due after a turn."""
        return type(self).due is not Memory.due

    # ---- a step of a chain ----------------------------------------------------------------------------------------

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The input with the selection in the place of its messages.

        Args:
            input: a list of messages, a prompt, or a dict with "messages", and with a `MemoryState` in "memory_state"
                if there is one.
            config: LangChain's.
            **kwargs: not used.

        Returns:
            A list, or the dict with "left_out" and "summarized" besides.

        Raises:
            RequestError: there are no messages in the input.
            ContextOverflowError: see `select`.
        """
        return self._call_with_config(self._step, input, config, **kwargs)

    def _step(self, value: Any) -> Any:
        given = value if isinstance(value, Mapping) else {"messages": value}
        messages = _messages(given.get("messages"))
        state = NOTHING if (known := given.get(STATE_KEY)) is None else known
        if not isinstance(state, MemoryState):
            raise RequestError(
                f"{STATE_KEY} is {state!r:.80}.", hint="Pass the MemoryState that `updates` gave, or none."
            )
        selection = self.select(messages, self.budget_for(self.model), counter_of(self.model), state)
        if given is not value:
            return selection.messages
        counts = {"left_out": selection.left_out, "summarized": selection.summarized}
        return {**given, "messages": selection.messages, **counts}

    def budget_for(self, model: BaseChatModel | None) -> int:
        """The tokens that a prompt to this model may have."""
        if self.budget is not None:
            return self.budget
        known = budget_of(model)
        return known.left if known else UNLIMITED

    # ---- an agent's middleware ------------------------------------------------------------------------------------

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ExtendedModelResponse[Any]:
        """The model gets the selection; the agent's state keeps all messages."""
        selection, command = self._chosen(request)
        return ExtendedModelResponse(_marked(handler(_with(request, selection)), selection), command)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ExtendedModelResponse[Any]:
        """See `wrap_model_call`."""
        selection, command = await asyncio.to_thread(self._chosen, request)
        return ExtendedModelResponse(_marked(await handler(_with(request, selection)), selection), command)

    def _chosen(self, request: ModelRequest[Any]) -> tuple[Selection, Command[Any] | None]:
        """The selection, and a note of how much room it has: after the answer nobody knows the agent's tools."""
        selection = self._selection(request)
        if not self.compacts:
            return selection, None
        room = self.budget_for(request.model)
        if room != UNLIMITED:
            room -= selection.tokens - counter_of(request.model)(_with(request, selection).messages)
        return selection, Command(update={ROOM_KEY: room})

    def _selection(self, request: ModelRequest[Any]) -> Selection:
        system = [request.system_message] if request.system_message else []
        count_tokens = counter_of(request.model, request.tools)
        state = state_of(request.state)
        return self.select([*system, *request.messages], self.budget_for(request.model), count_tokens, state)


def state_of(agent_state: Mapping[str, Any]) -> MemoryState:
    """What an agent's state has of a memory."""
    data = agent_state.get(STATE_KEY)
    return MemoryState(data["summary"], tuple(data["facts"]), data["covered"]) if data else NOTHING


def _with(request: ModelRequest[Any], selection: Selection) -> ModelRequest[Any]:
    first = 1 if request.system_message else 0
    return request.override(messages=list(selection.messages[first:]))  # type: ignore[arg-type]  # AnyMessage is a union


def _marked(response: ModelResponse[Any], selection: Selection) -> ModelResponse[Any]:
    """The answer says what was not sent as it is, as `Chat`'s answers do."""
    counts = {"left_out": selection.left_out, "summarized": selection.summarized}
    marks = {name: count for name, count in counts.items() if count}
    for message in response.result:
        if isinstance(message, AIMessage) and marks:
            message.response_metadata = {**message.response_metadata, **marks}
    return response


def _messages(value: Any) -> list[BaseMessage]:
    if isinstance(value, PromptValue):
        return value.to_messages()
    if isinstance(value, str):  # LangChain's conversion would make a message of each character
        return [HumanMessage(value)]
    try:
        return convert_to_messages(value)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise RequestError(
            f"A memory was given {type(value).__name__} for messages: {error}.",
            hint='Pass a list of messages, a prompt, or a dict with "messages".',
        ) from error
