"""Runs async generators for callers that have no event loop, by one loop in a thread of its own; and several at once.

One loop, and not one for each call: clients of model servers keep their connections with the loop that opened them.
"""

import asyncio
import os
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from contextvars import copy_context
from functools import cache, partial
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from phireside.errors import EngineError

T = TypeVar("T")
K = TypeVar("K")


MOST_CALLS = 32  # of models, waiting at once: half of what an engine lets wait, because others ask it too

_making = threading.Lock()
_gates: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]" = WeakKeyDictionary()


@cache
def _made() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=serve, args=(loop,), name="chains", daemon=True).start()
    return loop


def serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped."""
    stopped = False
    while not stopped:
        with suppress(SystemExit, KeyboardInterrupt):  # of one task, which tells who waits for it; others go on
            loop.run_forever()
            stopped = True


def _loop() -> asyncio.AbstractEventLoop:
    with _making:  # `cache` alone lets two threads that ask at the same time make two
        return _made()


def _in_fork() -> None:
    """The child of a fork has the loop, but not the thread that runs it."""
    _made.cache_clear()
    _making.release()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_in_fork)


def begin(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Run a coroutine in the chains' loop, with the caller's context variables; `cancel()` of the future ends it."""
    return asyncio.run_coroutine_threadsafe(work, _loop())


def iterate(values: AsyncGenerator[T, None]) -> Iterator[T]:
    """The values of an async generator, as they come. If the caller stops reading, the generator is cancelled.

    Args:
        values: not begun yet. It sees the caller's context variables, by which LangChain passes on its callbacks.

    Raises:
        EngineError: the caller is a chain, running in that loop: it would wait for itself.
    """
    if asyncio._get_running_loop() is _loop():
        raise EngineError(
            "A chain was called, and not awaited, inside of a chain.", hint="Use ainvoke or astream in async code."
        )
    arrived: queue.SimpleQueue[tuple[bool, T | BaseException | None]] = queue.SimpleQueue()

    async def read() -> None:
        try:
            async with aclosing(values):
                async for value in values:
                    arrived.put((True, value))
            arrived.put((False, None))
        except BaseException as error:  # noqa: BLE001  (the caller raises it)
            arrived.put((False, error))

    reading = begin(read())
    try:
        while True:
            more, value = arrived.get()
            if isinstance(value, BaseException) and not more:
                raise value
            if not more:
                return
            yield value  # type: ignore[misc]  # an error among the values is the caller's own kind of value
    finally:
        reading.cancel()


def gate() -> asyncio.Semaphore:
    """What each call of a model passes, so that chains in a batch do not ask for more than an engine lets wait.

    Never to be held around a chain, which would wait for itself, nor across a `yield`: see `streamed`.
    """
    return _gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(MOST_CALLS))


async def streamed(stream: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """What a model streams. The call has passed the gate when its first piece is there: it does not wait any more."""
    async with aclosing(cast("AsyncGenerator[T, None]", stream)) as pieces:
        async with gate():
            first = await anext(pieces, None)
        if first is not None:
            yield first
        async for piece in pieces:
            yield piece


async def growing(stream: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """What a model streams, each time as the whole so far. One that does not stream gives a message, once."""
    whole: Any = None
    async with aclosing(streamed(stream)) as pieces:
        async for piece in pieces:
            whole = piece if whole is None else whole + piece
            yield whole


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """As `asyncio.to_thread`, in a thread of its own: a loop has few, and a function that waits for a chain keeps one
    from the chain.
    """
    pool = ThreadPoolExecutor(1)
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, partial(copy_context().run, function, *args))
    finally:
        pool.shutdown(wait=False)


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of works that run side by side, in their order.

    Raises:
        The error of the first that fails, alone and not in a group; the others are cancelled.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def merged(
    streams: Mapping[K, AsyncGenerator[T, None]], at_once: int | None = None
) -> AsyncGenerator[tuple[K, T], None]:
    """What several streams give, as it comes, each value with the name of its stream.

    Args:
        streams: not begun yet. If one fails, or the caller stops reading, all are cancelled.
        at_once: how many are read at the same time, while the others wait; None = all.
    """
    arrived: asyncio.Queue[tuple[K, T] | asyncio.Task[None]] = asyncio.Queue()
    gate = asyncio.Semaphore(at_once or max(1, len(streams)))

    async def read(name: K, stream: AsyncGenerator[T, None]) -> None:
        async with gate, aclosing(stream):
            async for value in stream:
                arrived.put_nowait((name, value))

    tasks = [asyncio.create_task(read(name, stream)) for name, stream in streams.items()]
    for task in tasks:
        task.add_done_callback(arrived.put_nowait)
    running = len(tasks)
    try:
        while running:
            item = await arrived.get()
            if isinstance(item, asyncio.Task):
                item.result()
                running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
