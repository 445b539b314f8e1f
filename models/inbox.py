"""The engine's events on their way into an event loop, which is woken once for all that came meanwhile.

To wake a loop costs a system call and gives the interpreter away. The engine writes many answers in one step, and
would do so for each of them before it goes on. Knows nothing of what an event is.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")


class Inbox(Generic[T]):
    """What other threads put in, for one reader in an event loop. Made in that loop."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._bell = _bells.get(loop) or _bells.setdefault(loop, _Bell(loop))
        self._queue = asyncio.Queue[T]()

    def put(self, item: T) -> None:
        """Put one in, from any thread. Raises RuntimeError if the loop is closed."""
        self._bell.ring(lambda: self._queue.put_nowait(item))

    async def take(self) -> list[T]:
        """All that are there; waits for the first."""
        items = [await self._queue.get()]
        while not self._queue.empty():
            items.append(self._queue.get_nowait())
        return items


class _Bell:
    """Calls functions in one event loop, which it wakes if it has not done so already."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._calls, self._rung = loop, deque[Callable[[], None]](), False

    def ring(self, call: Callable[[], None]) -> None:
        """Call it there soon. From any thread."""
        self._calls.append(call)
        if not self._rung or self._loop.is_closed():
            self._rung = True
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._rung = False  # before the look: what comes in from now on rings again
        while self._calls:
            self._calls.popleft()()


_bells: "WeakValueDictionary[asyncio.AbstractEventLoop, _Bell]" = WeakValueDictionary()
