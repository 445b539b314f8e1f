"""An MCP server's pipes: a transport for `mcp.ClientSession`, as the specification describes "stdio".

The one that comes with `mcp` reads lines of any length, lets the server write to our stderr, and leaves alone what the
server has started. This one has limits, and ends the server with all its children. Standard output is the protocol's;
lines that are no messages (many programs greet there) are skipped.
"""

import atexit
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from shutil import which

import anyio
from anyio.abc import Process
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCError, JSONRPCMessage, JSONRPCRequest, JSONRPCResponse
from pydantic import ValidationError

from phireside.tools.mcp_servers import Server

MOST_BYTES = 4_000_000  # that a server may send in one session
_KEPT_STDERR = 2000  # bytes
_STEP = 1.0  # seconds that a server has to end, before a stronger means is used
_REST = 0.2  # seconds in which what a server wrote before its end is still read
_groups: set[int] = set()  # process groups of servers that run

_Reading = MemoryObjectReceiveStream[SessionMessage | Exception]
_Writing = MemoryObjectSendStream[SessionMessage]


@dataclass
class Trouble:
    """Why a connection ended, if it is known; `stderr` is the last that the server wrote there."""

    text: str = ""
    stderr: bytearray = field(default_factory=bytearray)


@asynccontextmanager
async def stdio(server: Server, trouble: Trouble, most: int = MOST_BYTES) -> AsyncIterator[tuple[_Reading, _Writing]]:
    """Start a server, and end it.

    Args:
        server: with a command, and its variables filled in.
        trouble: is told why it ended.
        most: bytes that it may send.

    Raises:
        OSError: it cannot be started.
    """
    environment = {**get_default_environment(), **server.env}
    command = which(str(server.command), path=environment.get("PATH")) or str(server.command)
    process = await anyio.open_process(
        [command, *server.args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=server.cwd,
        start_new_session=True,
    )
    _groups.add(process.pid)
    to_session, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as tasks, to_session, read, write, from_session:
            tasks.start_soon(_receive, process, to_session, trouble, most)
            tasks.start_soon(_send, process, from_session)
            tasks.start_soon(_listen, process, trouble)
            tasks.start_soon(_watch, process, to_session, trouble)
            try:
                yield read, write
            finally:
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _receive(
    process: Process, to_session: MemoryObjectSendStream[SessionMessage | Exception], trouble: Trouble, most: int
) -> None:
    """Messages from the server, until it sends too much or what is no JSON."""
    assert process.stdout  # noqa: S101 (a pipe)
    rest, count = b"", 0
    with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async for chunk in process.stdout:
            count += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            try:
                for line in lines:
                    if message := _message(line):
                        await to_session.send(SessionMessage(message))
            except ValueError:
                trouble.text = "sent what is not JSON"
            if count > most:
                trouble.text = f"sent more than {most:,} bytes"
            if trouble.text:
                await to_session.aclose()
                return
            await checkpoint()  # a flood does not keep others waiting


def _message(line: bytes) -> JSONRPCMessage | None:
    """An answer, or a question that is answered with a word; None for what nobody waits for.

    Raises:
        ValueError: it looks like a message, and is no JSON.
    """
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        message = JSONRPCMessage.model_validate_json(line)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise
        return None
    wanted = isinstance(message.root, JSONRPCResponse | JSONRPCError)
    pinged = isinstance(message.root, JSONRPCRequest) and message.root.method == "ping"
    return message if wanted or pinged else None


async def _send(process: Process, from_session: MemoryObjectReceiveStream[SessionMessage]) -> None:
    assert process.stdin  # noqa: S101 (a pipe)
    with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        async for each in from_session:
            text = each.message.model_dump_json(by_alias=True, exclude_none=True)
            await process.stdin.send(text.encode() + b"\n")


async def _listen(process: Process, trouble: Trouble) -> None:
    """Drain stderr, so that the server does not wait for it."""
    assert process.stderr  # noqa: S101 (a pipe)
    with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async for chunk in process.stderr:
            trouble.stderr += chunk
            del trouble.stderr[:-_KEPT_STDERR]
            await checkpoint()


async def _watch(
    process: Process, to_session: MemoryObjectSendStream[SessionMessage | Exception], trouble: Trouble
) -> None:
    """End the session with the server; its pipes may be kept open by its children."""
    code = await process.wait()
    await anyio.sleep(_REST)
    last = bytes(trouble.stderr).decode("utf-8", "replace").strip().rpartition("\n")[2]
    trouble.text = trouble.text or f"ended with exit code {code}" + (f" ({last[:200]})" if last else "")
    await to_session.aclose()


async def _end(process: Process) -> None:
    """As the specification has it: close its input, ask it to end, end it. At last whatever it has started."""
    if process.stdin:
        with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await process.stdin.aclose()
    for number in (0, signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        if number:
            _signal(process.pid, number)
        with anyio.move_on_after(_STEP):
            await process.wait()
            break
    if hasattr(os, "killpg"):  # its children, if it has left any
        _signal(process.pid, signal.SIGKILL)
    _groups.discard(process.pid)
    await process.aclose()


def _signal(group: int, number: int) -> None:
    """To a server and its children; on Windows to the server."""
    with contextlib.suppress(OSError):
        (os.killpg if hasattr(os, "killpg") else os.kill)(group, number)


@atexit.register
def _end_all() -> None:
    """End the servers that are still being ended when the program is."""
    for group in list(_groups):
        _signal(group, getattr(signal, "SIGKILL", signal.SIGTERM))
