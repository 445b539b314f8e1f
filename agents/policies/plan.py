"""Middleware written once for LangChain's two ways of calling, with and without `await`.

A policy is a generator: it yields the request that is to be made, is sent what came back (or thrown what was raised),
and returns what the agent gets. Knows nothing of what policies decide.
"""

from collections.abc import Awaitable, Callable, Generator
from dataclasses import replace
from typing import Any, TypeVar

from langchain.agents.middleware.types import AgentMiddleware, ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import ToolMessage
from langgraph.types import Command

Asked = TypeVar("Asked")
Given = TypeVar("Given")
Made = TypeVar("Made")

ToolResult = ToolMessage | Command[Any]
ModelPlan = Generator[ModelRequest[Any], ModelResponse[Any], ModelResponse[Any]]
ToolPlan = Generator[ToolCallRequest, ToolResult, ToolResult]


def drive(plan: Generator[Asked, Given, Made], handler: Callable[[Asked], Given]) -> Made:
    """Carry a plan out."""
    try:
        asked = next(plan)
        while True:
            try:
                given = handler(asked)
            except Exception as error:  # noqa: BLE001 (the plan decides, and raises what it does not want)
                asked = plan.throw(error)
            else:
                asked = plan.send(given)
    except StopIteration as stop:
        made: Made = stop.value
        return made


async def adrive(plan: Generator[Asked, Given, Made], handler: Callable[[Asked], Awaitable[Given]]) -> Made:
    """See `drive`."""
    try:
        asked = next(plan)
        while True:
            try:
                given = await handler(asked)
            except Exception as error:  # noqa: BLE001
                asked = plan.throw(error)
            else:
                asked = plan.send(given)
    except StopIteration as stop:
        made: Made = stop.value
        return made


class ModelPolicy(AgentMiddleware[Any, Any, Any]):
    """A policy around each call of the model."""

    def model_call(self, request: ModelRequest[Any]) -> ModelPlan:
        """The plan of one call."""
        raise NotImplementedError

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """LangChain's."""
        return drive(self.model_call(request), handler)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """LangChain's."""
        return await adrive(self.model_call(request), handler)


class ToolPolicy(AgentMiddleware[Any, Any, Any]):
    """A policy around each call of a tool."""

    def tool_call(self, request: ToolCallRequest) -> ToolPlan:
        """The plan of one call."""
        raise NotImplementedError

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolResult]) -> ToolResult:
        """LangChain's."""
        return drive(self.tool_call(request), handler)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolResult]]
    ) -> ToolResult:
        """LangChain's."""
        return await adrive(self.tool_call(request), handler)


def each_message(result: ToolResult, change: Callable[[ToolMessage], ToolMessage]) -> ToolResult:
    """A tool's result with every observation in it changed; a tool may also give a `Command` that holds some."""
    if isinstance(result, ToolMessage):
        return change(result)
    update = result.update
    if not isinstance(update, dict) or not isinstance(update.get("messages"), list):
        return result
    messages = [change(each) if isinstance(each, ToolMessage) else each for each in update["messages"]]
    return replace(result, update={**update, "messages": messages})
