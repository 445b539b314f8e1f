"""Answers on their way out: all at once or as server-sent events, and ended when the program that asked has gone.

Knows ASGI and OpenAI's form of an event; nothing of what an answer is.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from phireside.api.errors import Json, dumps, error_body, status_of
from phireside.errors import PhiresideError

log = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # nginx would collect the events
Work = Callable[[], Awaitable[Any]]
Events = AsyncGenerator[bytes, None]


class Whole(Response):
    """An answer as one JSON value.

    Args:
        work: gives it. It is cancelled when the client goes away.
    """

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Work, and send what came of it; an error is the app's to answer."""

        async def answer() -> None:
            await Json(await self._work())(scope, receive, send)

        await while_listening(receive, answer)


class EventStream(Response):
    """An answer as events, the last of which is [DONE].

    Args:
        events: as `event` makes them, one or more at a time, while the client listens; closed when it goes away. What
            they raise before the first one is an answer with a status; later it is an event, as the status was sent.
    """

    def __init__(self, events: Events) -> None:
        super().__init__(headers=HEADERS, media_type="text/event-stream")
        self._events = events
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the events as they come."""
        await while_listening(receive, lambda: self._send(send))

    async def _send(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            first = await anext(events)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await _send(send, first)
            try:
                async for more in events:
                    await _send(send, more)
                last = DONE
            except PhiresideError as error:
                status, code = status_of(error)
                last = event(dumps(error_body(status, str(error), code)))
            except Exception:
                log.exception("A stream failed")
                last = event(dumps(error_body(500, "The server failed. Its log says why.", "internal_error")))
        await send({"type": "http.response.body", "body": last, "more_body": False})


def event(data: bytes) -> bytes:
    """JSON as an event."""
    return b"data: " + data + b"\n\n"


async def _send(send: Send, events: bytes) -> None:
    await send({"type": "http.response.body", "body": events, "more_body": True})


async def while_listening(receive: Receive, work: Work) -> None:
    """Do the work, in one task from beginning to end; cancel it when the client goes away.

    Args:
        receive: of a request whose body was read.
        work: what it raises is raised here.
    """
    working = asyncio.ensure_future(work())
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
