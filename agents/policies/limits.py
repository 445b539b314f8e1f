"""Limits of a turn in steps, seconds and tokens. At a limit the model gives its final answer, which is never empty.

LangChain's `ModelCallLimitMiddleware` ends a turn with a note of its own in the place of an answer.
"""

import time
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import takewhile
from math import inf
from typing import Annotated, Any, NotRequired

from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
    PrivateStateAttr,
)
from langchain_core.exceptions import ContextOverflowError as LangChainOverflowError
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately
from langgraph.channels.untracked_value import UntrackedValue
from langgraph.types import Command

from phireside.agents.policies.final import closed, for_a_person, forced
from phireside.agents.policies.plan import adrive, drive
from phireside.agents.policies.threads import LeftRunningError, awithin, within
from phireside.agents.policies.turn import turn_of
from phireside.chains.cost import Cost
from phireside.errors import ContextOverflowError, RequestError
from phireside.models import ChatGGUF, StopSignal

SECONDS = "seconds"
"""Key in a message's `response_metadata`: how long the model took, or the tool."""

_GRACE = 0.25  # of `seconds`, for a final answer that is asked for when they are over
_SETTLE = 5.0  # seconds in which our engine ends an answer in order


@dataclass(frozen=True)
class Limits:
    """What one turn of an agent may take.

    Attributes:
        steps: calls of the model, the final answer among them.
        seconds: the whole turn, without the time that a person takes to approve; None = any. The final answer may take
            a quarter more.
        tokens: read and written, without those that the model found in its cache; None = any.
        tool_seconds: one call of a tool.
        observation_tokens: of a tool's result, as much as the model sees at once.

    Raises:
        RequestError: one is no number, or not positive.
    """

    steps: int = 8
    seconds: float | None = 300
    tokens: int | None = None
    tool_seconds: float = 30
    observation_tokens: int = 400

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is None and each.name in ("seconds", "tokens"):
                continue
            kind = float | int if each.name.endswith("seconds") else int
            if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < inf:
                wanted = "a number" if each.name.endswith("seconds") else "a whole number"
                raise RequestError(f"The limit {each.name} is {value!r:.40}, but must be {wanted} of more than 0.")


class RunState(AgentState[Any]):
    """An agent's state, with what the present turn has taken.

    `run_started` is of this process's clock, and not saved. A turn that waited for approval goes on from `run_seconds`,
    which it had taken when the model had last answered.
    """

    run_steps: NotRequired[Annotated[int, PrivateStateAttr]]
    run_tokens: NotRequired[Annotated[int, PrivateStateAttr]]
    run_seconds: NotRequired[Annotated[float, PrivateStateAttr]]
    run_started: NotRequired[Annotated[float, UntrackedValue, PrivateStateAttr]]


def seconds_left(state: Mapping[str, Any], limits: Limits) -> float | None:
    """Until the turn's limit; None = there is none."""
    return None if limits.seconds is None else limits.seconds - (time.monotonic() - _started(state))


def _started(state: Mapping[str, Any]) -> float:
    """When the turn began; after an approval, when it would have begun without the time that a person took."""
    if "run_started" in state:
        return float(state["run_started"])
    results = list(takewhile(lambda each: isinstance(each, ToolMessage), reversed(state.get("messages", []))))
    tools = max((each.response_metadata.get(SECONDS, 0.0) for each in results), default=0.0)  # they run side by side
    return time.monotonic() - float(state.get("run_seconds", 0.0)) - float(tools)


@dataclass
class _Run:
    """What a turn has taken so far, and one more call of the model."""

    limits: Limits
    state: Mapping[str, Any]

    def __post_init__(self) -> None:
        self._begun = time.monotonic()
        self.steps: int = self.state.get("run_steps", 0)
        self.tokens: int = self.state.get("run_tokens", 0)
        self.started = _started(self.state)

    def reached(self) -> tuple[str, str] | None:
        """Which limit the next call would exceed if it were not the last, by name and in words."""
        limits = self.limits
        if self.steps + 1 >= limits.steps:
            return "steps", f"the limit of {limits.steps} step{'s' * (limits.steps > 1)} was reached"
        if limits.tokens is not None and self.tokens >= limits.tokens:
            return "tokens", f"the limit of {limits.tokens} tokens was reached"
        return self.late()

    def late(self) -> tuple[str, str] | None:
        """The same for time alone."""
        over = self.limits.seconds is not None and time.monotonic() - self.started >= self.limits.seconds
        return ("seconds", f"the limit of {self.limits.seconds:g} s was reached") if over else None

    def seconds(self, *, last: bool) -> float | None:
        """How long the next call may take."""
        limit = self.limits.seconds
        if limit is None:
            return None
        left = max(0.0, limit - (time.monotonic() - self.started))
        return max(left, limit * _GRACE) if last else left

    def begin(self) -> None:
        """A call of the model begins."""
        self._begun = time.monotonic()

    def count(self, response: ModelResponse[Any], before: Sequence[BaseMessage]) -> ModelResponse[Any]:
        """A call has ended, with this conversation before it: the response with its time."""
        self.steps += 1
        seconds = round(time.monotonic() - self._begun, 4)
        result = [_with_seconds(for_a_person(each, before), seconds) for each in response.result]
        self.tokens += sum(_tokens(each) for each in result if isinstance(each, AIMessage))
        return ModelResponse(result, response.structured_response)

    def report(self, response: ModelResponse[Any]) -> ExtendedModelResponse[Any]:
        """The response, with the new state."""
        taken = time.monotonic() - self.started
        update = {
            "run_steps": self.steps, "run_tokens": self.tokens, "run_seconds": taken, "run_started": self.started
        }  # fmt: skip
        return ExtendedModelResponse(response, Command(update=update))


@dataclass(frozen=True)
class _Call:
    """A request, and how long it may take."""

    request: ModelRequest[Any]
    seconds: float | None


_Plan = Generator[_Call, ModelResponse[Any], ExtendedModelResponse[Any]]


class TurnLimits(AgentMiddleware[Any, Any, Any]):
    """The outermost policy: whatever the others let through ends here.

    Args:
        limits: of each turn.
    """

    state_schema = RunState

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any]:  # noqa: ARG002
        """A new turn begins."""
        return {"run_steps": 0, "run_tokens": 0, "run_seconds": 0.0, "run_started": time.monotonic()}

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ExtendedModelResponse[Any]:
        """LangChain's."""

        def ask(call: _Call) -> ModelResponse[Any]:
            if call.seconds is None:
                return handler(call.request)
            stoppable, late, stop = _stoppable(call.request)
            try:
                return within(call.seconds, lambda: handler(stoppable), "the model", late=late)
            finally:
                stop()

        return drive(self._plan(request), ask)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ExtendedModelResponse[Any]:
        """LangChain's."""

        async def ask(call: _Call) -> ModelResponse[Any]:
            if call.seconds is None:
                return await handler(call.request)
            stoppable, late, stop = _stoppable(call.request)

            async def work() -> ModelResponse[Any]:
                return await handler(stoppable)

            try:
                return await awithin(call.seconds, work, "the model", late=late)
            finally:
                stop()

        return await adrive(self._plan(request), ask)

    def _plan(self, request: ModelRequest[Any]) -> _Plan:
        """One step: the model's, and if that is the last one or leads nowhere, its final answer."""
        run = _Run(self._limits, request.state)
        why = run.reached()
        if not why:
            try:
                response = run.count((yield _Call(request, run.seconds(last=False))), request.messages)
                if is_cut(response) and (late := run.late()):
                    return run.report(closed(response, *late, request.messages))
                if not is_empty(response):
                    return run.report(response)
                why = run.late() or ("empty answer", "the model gave an empty answer")
            except LeftRunningError:
                return run.report(self._without_model(run, request))
            except (ContextOverflowError, LangChainOverflowError):
                if not run.steps:
                    raise  # it is the question, or the conversation before it, that is too long
                why = "context", "the context is full"
        return (yield from self._last(run, request, why))

    def _last(self, run: _Run, request: ModelRequest[Any], why: tuple[str, str]) -> _Plan:
        """The final answer, with less of the turn's results if they are too long."""
        attempts: list[list[Any]] = [request.messages, *shorter(request.messages)]
        while True:
            run.begin()
            asked = forced(request.override(messages=attempts.pop(0)))
            try:
                response = yield _Call(asked, run.seconds(last=True))
            except LeftRunningError:
                return run.report(self._without_model(run, request))
            except (ContextOverflowError, LangChainOverflowError):
                if not attempts:
                    raise
            else:
                return run.report(closed(run.count(response, request.messages), *why, request.messages))

    def _without_model(self, run: _Run, request: ModelRequest[Any]) -> ModelResponse[Any]:
        """The answer in the place of a model that does not come back."""
        why = f"the model did not answer within {self._limits.seconds:g} s"
        return closed(run.count(ModelResponse([AIMessage("")]), []), "seconds", why, request.messages)


def _stoppable(request: ModelRequest[Any]) -> tuple[ModelRequest[Any], Callable[[], float], Callable[[], None]]:
    """The request; what asks our engine to end the answer in order, and what frees it in any case."""
    if not isinstance(request.model, ChatGGUF) or "stop_signal" in request.model_settings:
        return request, lambda: 0.0, lambda: None
    signal = StopSignal()

    def late() -> float:
        signal.set()
        return _SETTLE

    return request.override(model_settings={**request.model_settings, "stop_signal": signal}), late, signal.set


def is_empty(response: ModelResponse[Any]) -> bool:
    """Whether a model neither called a tool nor said anything."""
    said = [each for each in response.result if isinstance(each, AIMessage)]
    return not any(each.tool_calls or each.invalid_tool_calls or each.text.strip() for each in said)


def is_cut(response: ModelResponse[Any]) -> bool:
    """Whether our engine was asked to end an answer of which there was some text."""
    said = [each for each in response.result if isinstance(each, AIMessage) and each.text.strip()]
    return any(each.response_metadata.get("finish_reason") == "cancelled" for each in said)


def shorter(messages: Sequence[BaseMessage]) -> Iterator[list[Any]]:
    """The question with the last step alone, and by itself."""
    turn = turn_of(messages)
    question = [each for each in turn[:1] if isinstance(each, HumanMessage)]
    last = max((at for at, each in enumerate(turn) if isinstance(each, AIMessage)), default=0)
    if last:
        yield [*question, *turn[last:]]
        yield question


def _with_seconds(message: BaseMessage, seconds: float) -> BaseMessage:
    if not isinstance(message, AIMessage):
        return message
    return message.model_copy(update={"response_metadata": {**message.response_metadata, SECONDS: seconds}})


def _tokens(message: AIMessage) -> int:
    """Read and written for a message, as far as is known."""
    if message.usage_metadata is None:
        return count_tokens_approximately([message])
    cost = Cost.of([message])
    return cost.evaluated_tokens + cost.generated_tokens
