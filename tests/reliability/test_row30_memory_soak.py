"""Row 30: a thousand turns with summary + buffer memory: memory, files, threads and states level off.

The model is a scripted one, so that nothing but the chat, the memory and the store is measured. In one conversation
that gets longer and longer the database grows with what is said, and so do the time and the working memory of a turn,
because each reads the conversation: at most linearly. In ten conversations, one after the other, memory is level.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Asks `turns` questions in so many conversations, and beside them creates and deletes others; prints figures ten times.
WORKER = """
import gc, json, sqlite3, sys, threading, time
import psutil
from contextlib import closing
from pathlib import Path
from rehearsed import Rehearsed
from phireside.chains import Chat
from phireside.memory import ConversationStore, SummaryBufferMemory

path, turns, conversations = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

class Forgetful(Rehearsed):
    def _generate(self, *args, **kwargs):
        result = super()._generate(*args, **kwargs)
        self.asked.clear()  # the test's own list would grow
        return result

store = ConversationStore(f"sqlite:///{path}")
chat = Chat(store, SummaryBufferMemory(max_tokens=200))
model = Forgetful(asked=[], profile={"max_input_tokens": 1500})
process, seconds, said = psutil.Process(), [], 0

def ask(conversation, text):
    turn = chat.send(conversation, text, model=model, system="Be kind.")
    while not turn.wait(10):
        pass
    assert turn.error is None, turn.error
    assert turn.left_out == 0
    return len(text + turn.text)

def pages():
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA page_count").fetchone()[0]

for number in range(turns):
    if number % (turns // conversations) == 0:
        long = store.create().id
    began = time.perf_counter()
    said += ask(long, f"I have {number} cats. What is {number} + 1?" + " More of it." * (number % 20))
    seconds.append(time.perf_counter() - began)
    if number % 3:
        assert chat.settle(long, 60)  # else the next question ends the compaction
    if number % 10 == 9:
        short = store.create().id
        ask(short, "What is 1 + 1?")
        chat.settle(short, 60)
        store.delete(short)
    if (number + 1) % (turns // 10) == 0:
        gc.collect()
        state = store.memory_state(long)
        print(json.dumps({
            "rss": process.memory_info().rss,
            "fds": process.num_fds() if hasattr(process, "num_fds") else 0,
            "threads": process.num_threads(),
            "python threads": threading.active_count(),
            "tasks": len(chat._compactor._tasks) + len(chat._turns),
            "database": pages() * 4096,
            "log": path.with_name("chat.db-wal").stat().st_size,
            "said": said,
            "seconds": sorted(seconds)[len(seconds) // 2],
            "covered": state.covered,
            "facts": len(state.facts),
            "summary": len(state.summary),
        }), flush=True)
        seconds.clear()
chat.close()
store.close()
deadline = time.monotonic() + 60
while threading.active_count() > 1 and time.monotonic() < deadline:
    time.sleep(0.05)
print([each.name for each in threading.enumerate()])
"""


LONG = pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])


@pytest.mark.parametrize("turns", [100, LONG])
@pytest.mark.parametrize(("conversations", "growth_allowed"), [(10, 5e6), (1, 20e6)])  # bytes in the second half
def test_memory_files_and_threads_level_off(
    tmp_path: Path, figure: Callable[[int, str], None], turns: int, conversations: int, growth_allowed: float
) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent / "plugins")}
    command = [sys.executable, "-c", WORKER, str(tmp_path / "chat.db"), str(turns), str(conversations)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=1700, check=False, env=environment)
    assert child.returncode == 0, child.stderr[-2000:]
    *lines, threads = child.stdout.splitlines()
    rounds = [json.loads(line) for line in lines]
    first, *_, last = late = rounds[5:]
    per_hundred = (last["rss"] - first["rss"]) / 1e6 * 100 / (turns * (len(late) - 1) / 10)
    growth = [grown(rounds[0], rounds[4]), grown(rounds[5], rounds[9])]
    figure(
        30,
        f"summary + buffer, {turns} turns, {conversations} conversation{'s'[: conversations - 1]}: {per_hundred:+.2f} "
        f"MB/100 turns, {last['fds'] - first['fds']:+d} fds, {last['threads']} threads; per character said "
        f"{growth[0]:.1f} bytes of database in the first half, {growth[1]:.1f} in the second; median turn "
        f"{1000 * rounds[0]['seconds']:.0f} -> {1000 * last['seconds']:.0f} ms",
    )
    assert last["rss"] - first["rss"] < growth_allowed
    assert last["fds"] <= first["fds"] + 4  # the pool's connections, each with its log
    assert last["python threads"] <= 2 + min(
        32, (os.cpu_count() or 1) + 4
    )  # asyncio's, which come when they are needed
    assert last["tasks"] == 0
    assert growth[1] < 1.5 * growth[0]
    assert last["log"] < 8e6  # SQLite folds it into the file at 4 MB
    assert last["facts"] <= 24
    assert last["summary"] <= 200 * 8
    assert last["covered"] <= 2 * turns // conversations
    assert last["covered"] > 0 or turns < 200  # in ten conversations of ten turns nothing is due
    assert threads == "['MainThread']"  # all end when the chat is closed


def grown(before: dict[str, float], after: dict[str, float]) -> float:
    """Bytes of the database for each character that was said in between."""
    return (after["database"] - before["database"]) / (after["said"] - before["said"])
