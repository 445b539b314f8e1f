"""What an agent does, step by step as it happens, in a form to show or to check. Works with any LangChain agent."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Interrupt, StateSnapshot

from phireside.agents.policies.approval import check_decisions
from phireside.agents.policies.limits import SECONDS
from phireside.agents.policies.untrusted import UNTRUSTED, inside
from phireside.chains.cost import Cost
from phireside.errors import RequestError
from phireside.models.messages import thought_of

Agent = CompiledStateGraph[Any, Any, Any, Any]
Input = str | Mapping[str, Any] | Command[Any] | None
Kind = Literal["thought", "action", "observation", "answer", "approval"]


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        kind: a thought, an action with its tool and arguments, its observation, the answer, or the approval that the
            agent waits for (go on with `Command(resume={"decisions": [{"type": "approve"}]})`).
        text: of the thought, observation (without the marks around strangers' text) or answer; for an approval, what
            it is about.
        tool: its name.
        arguments: of the action, or of the one to be approved.
        cost: of the model's call, with its (first) action or its answer.
        seconds: that this call took, or the tool's, with the observation; 0 where nobody says.
    """

    kind: Kind
    text: str = ""
    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0


def steps(agent: Agent, input: Input, config: RunnableConfig | None = None) -> Iterator[Step]:
    """The steps of one turn, each as soon as it is done.

    Args:
        agent: from `build_agent`, or any other of LangChain's.
        input: a question, the agent's input, or a `Command` that answers an approval; None = go on after a crash.
        config: LangChain's, with the `thread_id` if there is a checkpointer.

    Raises:
        RequestError: the text is empty, or the decisions do not fit the approval that waits; nothing was sent then.
        PhiresideError: the model cannot be used.
    """
    reader = _reader(agent.get_state(config) if agent.checkpointer and config else None, input)
    for update in agent.stream(_given(input), config, stream_mode="updates"):
        yield from reader.read(update)


async def asteps(agent: Agent, input: Input, config: RunnableConfig | None = None) -> AsyncIterator[Step]:
    """See `steps`."""
    reader = _reader(await agent.aget_state(config) if agent.checkpointer and config else None, input)
    async for update in agent.astream(_given(input), config, stream_mode="updates"):
        for step in reader.read(update):
            yield step


def _given(input: Input) -> Any:
    return {"messages": [HumanMessage(input)]} if isinstance(input, str) else input


def _reader(state: StateSnapshot | None, input: Input) -> "StepReader":
    """The reader of what this input makes an agent do, if it may be sent.

    Raises:
        RequestError: see `steps`.
    """
    if isinstance(input, str) and not input.strip():
        raise RequestError("The question is empty.", hint="Write what the agent is to do.")
    if isinstance(input, Command) and input.resume is not None and state:
        check_decisions(state.interrupts, input.resume)
    given = input.get("messages", []) if isinstance(input, Mapping) else []
    known = state.values.get("messages", []) if state else []
    return StepReader([*known, *(given if isinstance(given, list) else [])])


class StepReader:
    """Makes steps of LangGraph's updates, of which some repeat messages that are there already.

    Args:
        known: messages that are no news.
    """

    def __init__(self, known: Iterable[Any] = ()) -> None:
        self._seen = {each.id for each in known if isinstance(each, BaseMessage) and each.id}

    def read(self, update: Mapping[str, Any]) -> Iterator[Step]:
        """The steps of one update."""
        for interrupt in update.get("__interrupt__", ()):
            yield from _approvals(interrupt)
        for message in messages_in(update):
            if message.id not in self._seen:
                self._seen.add(message.id or "")
                yield from _steps(message)


def messages_in(update: Mapping[str, Any]) -> list[BaseMessage]:
    """The messages that the nodes of an update gave."""
    return [message for change in update.values() for message in _messages(change)]


def _messages(change: Any) -> list[BaseMessage]:
    """The messages of a node's update; a node may give several updates."""
    if isinstance(change, list | tuple):
        return [message for each in change for message in _messages(each)]
    messages = change.get("messages") if isinstance(change, Mapping) else None
    return [each for each in messages if isinstance(each, BaseMessage)] if isinstance(messages, list) else []


def _steps(message: BaseMessage) -> Iterator[Step]:
    """What a message says that was done."""
    seconds = message.response_metadata.get(SECONDS, 0.0)
    if isinstance(message, ToolMessage):
        text = inside(message.text) if message.response_metadata.get(UNTRUSTED) else message.text
        yield Step("observation", text, message.name or "", seconds=seconds)
    elif isinstance(message, AIMessage):
        calls = [(call["name"], call["args"]) for call in message.tool_calls]
        calls += [(call["name"] or "", {"": call["args"]}) for call in message.invalid_tool_calls]
        if thought := thought_of(message) or (message.text if calls else ""):
            yield Step("thought", thought)
        cost = Cost.of([message])
        for name, arguments in calls:
            yield Step("action", tool=name, arguments=arguments, cost=cost, seconds=seconds)
            cost, seconds = Cost(), 0.0
        if not calls:
            yield Step("answer", message.text, cost=cost, seconds=seconds)


def _approvals(interrupt: Interrupt) -> Iterator[Step]:
    """What a person is asked."""
    value = interrupt.value
    requests = value.get("action_requests") if isinstance(value, Mapping) else None
    if requests is None:  # of somebody else's
        yield Step("approval", str(value))
    for request in requests or []:
        yield Step("approval", request.get("description", ""), request["name"], request["args"])
