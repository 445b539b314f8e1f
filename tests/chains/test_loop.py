"""The chains' own event loop: made once, also after a fork, never ended by a task; and how many calls wait at once."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from answers import Answers
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableLambda
from scoring import scoring

from phireside.chains import Rule, chain_of_thought, classify, extract, sequential, summarize, validated, yes_no
from phireside.chains.long_text import AT_ONCE
from phireside.chains.loop import MOST_CALLS, begin, gate, in_thread, iterate, merged, streamed, together
from phireside.chains.sequential import Link
from phireside.models import ChatGGUF, Score
from phireside.settings import EngineSettings, Settings

ONE_LOOP = """
import asyncio, threading, time
from phireside.chains import loop

made, real = [], asyncio.new_event_loop

def slow():
    time.sleep(0.1)
    made.append(real())
    return made[-1]

asyncio.new_event_loop = slow
threads = [threading.Thread(target=loop._loop) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(made))
"""

FORKED = """
import os, signal
from phireside.chains.loop import iterate

async def one():
    yield 1

assert list(iterate(one())) == [1]
child = os.fork()
if not child:
    signal.alarm(20)
    os._exit(0 if list(iterate(one())) == [1] else 1)
assert list(iterate(one())) == [1]
print(os.waitpid(child, 0)[1])
"""


def printed(program: str) -> str:
    """What a program prints in a process of its own."""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    return run.stdout.strip()


def test_threads_that_ask_first_at_the_same_time_get_one_loop() -> None:
    assert printed(ONE_LOOP) == "1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_child_of_a_fork_has_a_loop_that_runs() -> None:
    assert printed(FORKED) == "0"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_a_program_ends_one_chain_and_not_the_loop(error: BaseException) -> None:
    async def leave() -> AsyncGenerator[int, None]:
        yield 1
        raise error

    async def leave_deeper() -> AsyncGenerator[int, None]:
        async def task() -> None:
            raise error

        yield 1
        await together([task(), asyncio.sleep(20)])

    async def one() -> AsyncGenerator[int, None]:
        yield 1

    for broken in (leave, leave_deeper):
        values = iterate(broken())
        assert next(values) == 1
        with pytest.raises(type(error)):
            next(values)
        assert list(iterate(one())) == [1]


async def test_a_thread_of_its_own_sees_the_callers_context_and_gives_result_or_error() -> None:
    async def many() -> list[int]:
        return await together(in_thread(pow, number, 2) for number in range(50))

    assert begin(many()).result(60) == [number**2 for number in range(50)]
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 / 0)


# ---- how many calls wait at once ----


class Counted(Answers):
    """Counts the calls that wait for their first word."""

    now: int = 0
    most: int = 0

    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kw: Any) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.02)
        self.now -= 1
        async for chunk in super()._astream(messages, stop, **kw):
            yield chunk


def counted(rule: Any = "yes") -> Counted:
    return Counted(rule=rule if callable(rule) else lambda messages: rule, asked=[], arguments=[], left=[])


CHAINS: dict[str, Callable[[Any], Any]] = {
    "sequential": lambda model: sequential([Link("a", "{text}"), Link("b", "{a}")], model=model),
    "summarize": lambda model: summarize(model=model),
    "validated": lambda model: validated(model, [Rule("it is", bool)]),
    "nested": lambda model: validated(
        summarize(model=model) | RunnableLambda(lambda r: r.text), ["Is it?"], model=model
    ),
    "classify": lambda model: classify(["yes", "no"], model=model),
    "extract": lambda model: extract({"const": 1}, model=model),
    "chain_of_thought": lambda model: chain_of_thought(model=model),
    "yes_no": lambda model: yes_no("So?", model=model),
}


@pytest.mark.parametrize("name", CHAINS)
async def test_a_large_batch_of_chains_lets_few_calls_wait_at_once(name: str) -> None:
    model = counted("1" if name == "extract" else "yes")
    found = await CHAINS[name](model).abatch([f"text {number}" for number in range(100)])
    assert len(found) == 100
    assert 1 < model.most <= MOST_CALLS


async def test_the_pieces_of_several_long_texts_pass_the_gate_as_well() -> None:
    model = counted("short").model_copy(update={"profile": {"max_input_tokens": 400}})
    found = await summarize(model=model, max_tokens=40).abatch(["The keeper counted the ships. " * 400] * 6)
    assert [each.text for each in found] == ["short"] * 6
    assert AT_ONCE < model.most <= MOST_CALLS


async def test_scores_pass_the_gate_as_well() -> None:
    now, most = 0, 0

    class Slow(type(scoring(lambda text, label: 0.0))):  # type: ignore[misc]
        async def ascore(self, messages: Any, continuations: Any, *, whole: bool = False) -> list[Score]:
            nonlocal now, most
            now, most = now + 1, max(most, now + 1)
            await asyncio.sleep(0.01)
            now -= 1
            return [Score(0.0, 1) for _ in continuations]

    model = Slow(rule=lambda text, label: 0.0, asked=[])
    await classify(["a", "b"], model=model, calibrated=False).abatch([str(number) for number in range(100)])
    assert 1 < most <= MOST_CALLS


async def test_who_reads_slowly_keeps_nobody_waiting() -> None:
    async def words() -> AsyncGenerator[str, None]:
        yield "a"
        yield "b"

    open_ones = [streamed(words()) for _ in range(2 * MOST_CALLS)]
    assert [await anext(each) for each in open_ones] == ["a"] * len(open_ones)
    assert [await anext(each) for each in open_ones] == ["b"] * len(open_ones)
    assert not gate().locked()


async def test_an_empty_stream_and_one_that_fails_give_the_gate_free() -> None:
    async def nothing(error: Exception | None = None) -> AsyncGenerator[str, None]:
        if error:
            raise error
        for word in ():
            yield word

    for _ in range(2 * MOST_CALLS):
        assert [each async for each in streamed(nothing())] == []
        with pytest.raises(ValueError, match="odd"):
            await anext(streamed(nothing(ValueError("odd"))))
    assert not gate().locked()


@pytest.mark.real
async def test_batches_of_chains_fit_into_the_engines_queue(settings: Settings, starter_path: Any) -> None:
    narrow = Settings(data_dir=settings.data_dir, engine=EngineSettings(max_waiting=MOST_CALLS))
    model = ChatGGUF(model="starter", settings=narrow, n_ctx=256, max_tokens=2)
    chain = sequential([Link("a", "{text}")], model=model)
    found = await chain.abatch([f"Say {number}." for number in range(3 * MOST_CALLS)])
    assert len(found) == 3 * MOST_CALLS


# ---- who leaves before anything has come ----


class Silent(Answers):
    """Never says its first word."""

    async def _astream(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kw: Any) -> Any:
        self.asked.append(messages)
        try:
            await asyncio.Event().wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.left.append(1)
            raise
        yield ChatGenerationChunk(message=None)  # type: ignore[arg-type]  # never


@pytest.mark.parametrize("name", CHAINS)
async def test_who_leaves_before_the_first_word_stops_the_model(name: str) -> None:
    model = Silent(rule=lambda messages: "", asked=[], arguments=[], left=[])
    task = asyncio.create_task(CHAINS[name](model).ainvoke("x"))
    while not model.asked:
        await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert model.left == [1]


async def test_who_leaves_merged_streams_that_say_nothing_stops_them() -> None:
    model = Silent(rule=lambda messages: "", asked=[], arguments=[], left=[])
    streams: Any = {number: streamed(model.astream("x")) for number in range(3)}

    async def read() -> None:
        async with aclosing(merged(streams)) as values:
            await anext(values)

    task = asyncio.create_task(read())
    while len(model.asked) < 3:
        await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert model.left == [1, 1, 1]
