"""What threads put in comes out in order, all of it, and the loop is woken once for many."""

import asyncio
import threading
from typing import Any

import pytest

from phireside.models.inbox import Inbox


async def test_what_threads_put_in_comes_out_in_each_ones_order() -> None:
    inbox = Inbox[tuple[int, int]]()

    def put(thread: int) -> None:
        for number in range(500):
            inbox.put((thread, number))

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    taken: list[tuple[int, int]] = []
    while len(taken) < 2000:
        taken += await asyncio.wait_for(inbox.take(), 10)
    for own in range(4):
        assert [number for thread, number in taken if thread == own] == list(range(500))


async def test_a_loop_is_woken_once_for_all_inboxes_until_it_has_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, woken = asyncio.get_running_loop(), []
    wake = loop.call_soon_threadsafe

    def counted(*args: Any) -> Any:
        woken.append(1)
        return wake(*args)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    one, other = Inbox[int](), Inbox[int]()
    for number in range(3):
        one.put(number)
        other.put(number)
    assert (await one.take(), await other.take()) == ([0, 1, 2], [0, 1, 2])
    assert len(woken) == 1
    one.put(3)
    assert await one.take() == [3]
    assert len(woken) == 2


def test_who_puts_into_the_inbox_of_a_closed_loop_is_told_each_time() -> None:
    async def make() -> Inbox[int]:
        inbox = Inbox[int]()
        inbox.put(0)  # it rings, and nobody comes to look
        return inbox

    loop = asyncio.new_event_loop()
    inbox = loop.run_until_complete(make())
    loop.close()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="closed"):
            inbox.put(1)
