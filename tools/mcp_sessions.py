"""Conversations with MCP servers: each is begun for one call, has a time limit, and is ended after it.

So a server that dies, hangs or floods spoils one call, and no state is shared by chats. They run in one event loop in a
thread of its own: callers may be synchronous or not. Knows nothing of what was approved.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar, cast

import httpx
from langchain_core.tools import BaseTool, ToolException
from langchain_mcp_adapters.interceptors import MCPToolCallRequest, MCPToolCallResult
from langchain_mcp_adapters.sessions import Connection, create_session
from langchain_mcp_adapters.tools import load_mcp_tools
from mcp import ClientSession, McpError
from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest
from pydantic import ValidationError

from phireside.errors import PhiresideError, ToolError
from phireside.tools.mcp_approvals import visible
from phireside.tools.mcp_servers import Server
from phireside.tools.mcp_stdio import MOST_BYTES, Trouble, stdio

T = TypeVar("T")

_WITHOUT = "Do without it, and say so."
_LONGEST_REASON = 300  # characters
_HTTP_SECONDS = 30.0  # of one request; the call's own limit is what counts
_CLOSED = "Connection closed"  # what `mcp` itself says then; its code is also that of errors of many servers
_tasks: set[asyncio.Task[None]] = set()  # asyncio itself holds tasks weakly

# `mcp` logs what servers get wrong, with tracebacks; without this they go to the terminal where nobody asked for logs.
logging.getLogger("mcp").addHandler(logging.NullHandler())


def in_background(work: Coroutine[Any, Any, T]) -> "Future[T]":
    """Begin work in the loop of all servers."""
    return asyncio.run_coroutine_threadsafe(work, _loop())


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name="phireside-mcp").start()
    return loop


async def ask(server: Server, work: Callable[[ClientSession], Awaitable[T]], seconds: float) -> T:
    """What some work with a server gives. The server is ended after it, and nobody waits for that.

    Args:
        server: is started, or contacted.
        work: with the session.
        seconds: that everything may take.

    Raises:
        ToolError: the server did not do it, or not in time.
        SettingsError: a variable in its settings is not set.
    """
    answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(_answer(server.filled(), work, answer))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    try:
        await asyncio.wait({answer}, timeout=seconds)
        if answer.done():
            return answer.result()
        raise ToolError(f"The server {server.name} took longer than {seconds:g} s, and was ended.", hint=_WITHOUT)
    finally:
        if not answer.done():
            answer.cancel()
            task.cancel()


async def _answer(server: Server, work: Callable[[ClientSession], Awaitable[T]], answer: "asyncio.Future[T]") -> None:
    trouble = Trouble()
    try:
        async with _connected(server, trouble) as session:
            try:
                result = await work(session)
            except Exception as error:  # noqa: BLE001 (told before the connection's own errors bury it)
                _fail(answer, server, error, trouble)
            else:
                if not answer.done():
                    answer.set_result(result)
    except Exception as error:  # noqa: BLE001 (whatever a server causes belongs to this call)
        _fail(answer, server, error, trouble)


@asynccontextmanager
async def _connected(server: Server, trouble: Trouble) -> AsyncIterator[ClientSession]:
    if server.command:
        async with stdio(server, trouble) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            yield session
        return
    common = {
        "url": server.url,
        "headers": server.headers,
        "timeout": _HTTP_SECONDS,
        "httpx_client_factory": _bounded_client,
    }
    connection = cast(Connection, {"transport": "sse" if server.type == "sse" else "streamable_http", **common})
    async with create_session(connection) as session:
        await session.initialize()
        yield session


def _bounded_client(
    headers: dict[str, str] | None = None, timeout: httpx.Timeout | None = None, auth: httpx.Auth | None = None
) -> httpx.AsyncClient:
    """A client that reads so many bytes and no more."""
    left = MOST_BYTES

    class Counted(httpx.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal left
            async for chunk in self._stream:
                left -= len(chunk)
                if left < 0:
                    raise httpx.ReadError(f"it sent more than {MOST_BYTES:,} bytes")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def count(response: httpx.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise httpx.RemoteProtocolError("it packed what was not to be packed")  # a bomb would pass uncounted
        response.stream = Counted(response.stream)

    return httpx.AsyncClient(
        headers={**(headers or {}), "Accept-Encoding": "identity"},
        timeout=timeout,
        auth=auth,
        event_hooks={"response": [count]},
    )


def _fail(answer: "asyncio.Future[Any]", server: Server, error: BaseException, trouble: Trouble) -> None:
    if not answer.done():
        answer.set_exception(_told(server, error, trouble))


def _told(server: Server, error: BaseException, trouble: Trouble) -> PhiresideError:
    """An error in words."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = str(error).strip()[:_LONGEST_REASON]
    if isinstance(error, PhiresideError):
        return error
    if trouble.text:
        reason = f"broke off: it {trouble.text}"
    elif isinstance(error, ToolException):
        return ToolError(visible(f"The server {server.name} says: {said}"))
    elif isinstance(error, McpError):
        reason = "broke off" if said == _CLOSED else f"refuses: {said}"
    elif isinstance(error, ValidationError | ValueError | NotImplementedError):
        reason = "answers with what cannot be read"
    elif isinstance(error, httpx.HTTPError):
        reason = f"cannot be reached: {said or type(error).__name__}"
    elif isinstance(error, OSError):
        reason = f"cannot be started: {error.strerror}: {error.filename}"
    else:
        reason = f"failed: {type(error).__name__}: {said}"
    return ToolError(visible(f"The server {server.name} {reason}."), hint=_WITHOUT)


async def offered(session: ClientSession) -> list[BaseTool]:
    """The tools of a server as LangChain's, with the server's annotations as metadata; not to be called."""
    return await load_mcp_tools(session)


async def called(
    session: ClientSession, name: str, arguments: dict[str, Any], unchanged: Callable[[BaseTool], bool]
) -> str:
    """The text of what a tool gives.

    Args:
        session: with its server.
        name: of the tool.
        arguments: by name.
        unchanged: whether the tool, as it is offered now, is the one that was approved.

    Raises:
        ToolError: it is not, and was not called.
        ToolException: the server says that it failed.
    """

    async def as_given(request: MCPToolCallRequest, handler: Any) -> MCPToolCallResult:  # noqa: ARG001
        # Not `session.call_tool`: it checks the answer by the server's own schema, and a regular expression in there
        # can stop the whole program. And not `request.args`: arguments named as LangChain's own are lost on the way.
        params = CallToolRequestParams(name=name, arguments=arguments)
        return await session.send_request(ClientRequest(CallToolRequest(params=params)), CallToolResult)

    found = await load_mcp_tools(session, tool_interceptors=[as_given], handle_tool_errors=False)
    tool = next((each for each in found if each.name == name), None)
    if tool is None or not unchanged(tool):
        raise ToolError(f"{name} has changed since it was approved, and was not called.", hint=_WITHOUT)
    return _text(await tool.ainvoke({}))


def _text(content: Any) -> str:
    """Texts as they are; of pictures and files, that they are there."""
    if isinstance(content, str):
        return content
    return "\n".join(each["text"] if each["type"] == "text" else f"({each['type']}: not shown)" for each in content)
