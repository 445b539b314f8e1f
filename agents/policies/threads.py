"""Work with a time limit, whatever the work does: a daemon thread can be left behind.

It cannot be ended from outside (no thread can): it goes on until it is done or the program ends, and `left_running`
says so until then.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

Made = TypeVar("Made")

_LEFT = "left running: "


class LeftRunningError(Exception):
    """Work took too long, and was left to itself."""


def left_running() -> list[str]:
    """What was left behind and still runs, by name; one that runs twice is there twice."""
    return [each.name.removeprefix(_LEFT) for each in threading.enumerate() if each.name.startswith(_LEFT)]


def start(work: Callable[[], Made], name: str) -> tuple[threading.Thread, "Future[Made]"]:
    """Begin work in a thread of its own, in the caller's context."""
    future: Future[Made] = Future()

    def run() -> None:
        future.set_running_or_notify_cancel()  # nobody's cancelling takes the place of its result
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 (SystemExit, too, belongs to whoever waits)
            future.set_exception(error)

    thread = threading.Thread(target=copy_context().run, args=(run,), name=name, daemon=True)
    thread.start()
    return thread, future


def within(seconds: float, work: Callable[[], Made], name: str, *, late: Callable[[], float] = lambda: 0.0) -> Made:
    """What the work gives, if it is there in time.

    Args:
        seconds: it may take.
        work: is done in a daemon thread.
        name: for `left_running`.
        late: is called once when time is over, asks the work to end, and says how many seconds that may take.

    Raises:
        LeftRunningError: it was not.
    """
    thread, future = start(work, name)
    for is_late in (False, True):
        try:
            return future.result(late() if is_late else seconds)
        except TimeoutError:
            if future.done():  # the work's own
                return future.result()
    thread.name = _LEFT + name
    raise LeftRunningError(name)


async def awithin(
    seconds: float, work: Callable[[], Coroutine[Any, Any, Made]], name: str, *, late: Callable[[], float] = lambda: 0.0
) -> Made:
    """See `within`; what is late is cancelled."""
    task = asyncio.ensure_future(work())
    try:
        for is_late in (False, True):
            await asyncio.wait({task}, timeout=late() if is_late else seconds)
            if task.done():
                return task.result()
        raise LeftRunningError(name)
    finally:
        task.cancel()  # nothing, if it is done


async def awithin_thread(seconds: float, work: Callable[[], Coroutine[Any, Any, Made]], name: str) -> Made:
    """As `awithin`, for work that blocks: a loop of its own runs it in a daemon thread.

    asyncio's own threads would not do: a program does not end before they do.
    """

    def run() -> Made:
        with asyncio.Runner(loop_factory=_private_loop) as runner:
            return runner.run(work())

    thread, future = start(run, name)
    waiting = asyncio.wrap_future(future)
    try:
        await asyncio.wait({waiting}, timeout=seconds)
        if future.done():
            return future.result()
        raise LeftRunningError(name)
    finally:
        if not future.done():
            thread.name = _LEFT + name
        waiting.cancel()


def _private_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_Inline())
    return loop


class _Inline(ThreadPoolExecutor):
    """Does at once what it is given: nothing else waits in this loop."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)
        return future
