"""A time limit for each call of a tool. A tool that hangs is left behind, and the agent goes on."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware.types import AgentMiddleware, ToolCallRequest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, Tool

from phireside.agents.policies.limits import SECONDS, Limits, seconds_left
from phireside.agents.policies.plan import ToolResult, each_message
from phireside.agents.policies.threads import LeftRunningError, awithin, awithin_thread, left_running, within
from phireside.errors import ToolError

log = logging.getLogger(__name__)

MOST_LEFT = 4
"""So many calls of one tool may be left running in a program; then it is not called until one of them has ended."""


class ToolTime(AgentMiddleware[Any, Any, Any]):
    """Runs each call in a daemon thread; an async tool in the caller's loop, which it must not block.

    Args:
        limits: of a call, and of the whole turn.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolResult]) -> ToolResult:
        """LangChain's. Raises ToolError when time is over."""
        name, seconds, begun = request.tool_call["name"], self._seconds(request), time.monotonic()

        def call() -> ToolResult:  # in a thread of its own, where nobody else raises these
            try:
                return handler(request)
            except (SystemExit, KeyboardInterrupt) as error:
                raise _wanted_to_end(name) from error
            except asyncio.CancelledError as error:
                raise _was_cancelled(name) from error

        try:
            result = within(seconds, call, name)
        except LeftRunningError:
            raise _late(name, seconds) from None
        return _timed(result, begun)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolResult]]
    ) -> ToolResult:
        """See `wrap_tool_call`."""
        name, seconds, begun = request.tool_call["name"], self._seconds(request), time.monotonic()

        in_loop = _is_async(request.tool)

        async def call() -> ToolResult:
            try:
                return await handler(request)
            except SystemExit as error:
                raise _wanted_to_end(name) from error
            except KeyboardInterrupt as error:
                if in_loop:  # it may be the person's, who wants to end the program
                    raise
                raise _wanted_to_end(name) from error
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task and task.cancelling():  # from outside
                    raise
                raise _was_cancelled(name) from error

        wait = awithin if in_loop else awithin_thread
        try:
            result = await wait(seconds, call, name)
        except LeftRunningError:
            raise _late(name, seconds) from None
        return _timed(result, begun)

    def _seconds(self, request: ToolCallRequest) -> float:
        """How long the call may take."""
        name = request.tool_call["name"]
        if left_running().count(name) >= MOST_LEFT:
            raise ToolError(f"{name} hangs: {MOST_LEFT} calls of it have not ended.", hint="Do without it.")
        left = seconds_left(request.state, self._limits)
        if left is not None and left <= 0:
            raise ToolError(f"There was no time left for {name}.")
        return self._limits.tool_seconds if left is None else min(left, self._limits.tool_seconds)


def _is_async(tool: BaseTool | None) -> bool:
    """Whether a tool has an async form of its own; LangChain gives the others one that blocks a thread."""
    if isinstance(tool, StructuredTool | Tool):
        return tool.coroutine is not None
    return tool is not None and type(tool)._arun is not BaseTool._arun


def _late(name: str, seconds: float) -> ToolError:
    log.warning("The tool %s took longer than %.3g s, and was left running.", name, seconds)
    return ToolError(f"{name} took longer than {seconds:.3g} s and was left.", hint="Go on without its result.")


def _wanted_to_end(name: str) -> ToolError:
    return ToolError(f"{name} wanted to end the whole program.", hint="Go on without its result.")


def _was_cancelled(name: str) -> ToolError:
    return ToolError(f"{name} was cancelled by itself.", hint="Go on without its result.")


def _timed(result: ToolResult, begun: float) -> ToolResult:
    seconds = round(time.monotonic() - begun, 4)

    def noted(message: ToolMessage) -> ToolMessage:
        return message.model_copy(update={"response_metadata": {**message.response_metadata, SECONDS: seconds}})

    return each_message(result, noted)
