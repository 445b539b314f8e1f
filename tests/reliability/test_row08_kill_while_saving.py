"""Row 8: the process is killed (SIGKILL) while turns, and what a memory made of them, are being saved.

Every operation that was acknowledged is there; the one under way is there as a whole or not at all; the memory's state
is the old or the new one and fits the conversation; the file is sound and the store opens.
"""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from os import kill
from pathlib import Path

import pytest

from phireside.memory import ConversationStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks, and kills by SIGKILL")

# A nursery that imports once and then forks a writer for every path and number of operations that it reads. Operations
# 1, 4, 7, … save a turn, 2, 5, 8, … a state that covers all there is, and 3, 6, 9, … replace the last turn, as
# "regenerate" does, and with it that state. Each is acknowledged only after the store's method has returned.
NURSERY = """
import os, sys
from langchain_core.messages import AIMessage, HumanMessage
from phireside.memory import ConversationStore, MemoryState

def write(path, done):
    store = ConversationStore(f"sqlite:///{path}")
    made = (store.list() or [store.create("kill me")])[0]
    while True:
        done += 1
        count = len(store.messages(made.id))
        if done % 3 == 2:
            store.save_memory_state(made.id, MemoryState(f"up to {done - 1} " + "z" * 2000, (str(done),) * 9, count))
        else:
            turn = [HumanMessage(f"ask {done} " + "x" * 3000), AIMessage(f"answer {done} " + "y" * 9000)]
            store.save_turn(made.id, turn, at=count - 2 if done % 3 == 0 else None)
        os.write(1, b"saved %d\\n" % done)

for line in sys.stdin:
    path, done = line.rsplit(" ", 1)
    child = os.fork()
    if not child:
        write(path, int(done))
    os.write(1, b"child %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"gone\\n")
"""


Found = tuple[list[str], tuple[str, int]]  # messages, and what the memory's state says and covers


def after(operations: int) -> Found:
    """What the conversation holds after so many operations."""
    turns: list[int] = []
    states = [("", 0)]
    for number in range(1, operations + 1):
        if number % 3 == 2:
            states.append((f"up to {number - 1}", 2 * len(turns)))
        elif number % 3 == 0:
            turns[-1] = number
            states.pop()  # it covers what was replaced: the one before is in force again
        else:
            turns.append(number)
    return [f"{who} {number}" for number in turns for who in ("ask", "answer")], states[-1]


@pytest.fixture
def killed_writer() -> Iterator[Callable[[Path, int, float, str], int | None]]:
    """`killed_writer(path, done, seconds, after)`: the last acknowledged operation of a writer, before which others had
    done so many; it is killed so long after it was forked ("child") or has acknowledged its first one ("saved")."""
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdin

        def run(path: Path, done: int, seconds: float, after: str) -> int | None:
            assert nursery.stdin
            assert nursery.stdout
            nursery.stdin.write(f"{path} {done}\n")
            nursery.stdin.flush()
            lines, child = [], 0
            for line in nursery.stdout:
                name, _, number = line.strip().partition(" ")
                child = int(number) if name == "child" else child
                if name == after:
                    time.sleep(seconds)
                    kill(child, signal.SIGKILL)
                    after = ""
                if name == "gone":
                    break
                if name == "saved":
                    lines.append(int(number))
            return max(lines, default=None)

        yield run
        nursery.stdin.close()


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_no_acknowledged_turn_is_lost_and_none_is_there_by_half(
    killed_writer: Callable[[Path, int, float, str], int | None],
    tmp_path: Path,
    figure: Callable[[int, str], None],
    kills: int,
) -> None:
    rng = random.Random(8)
    lost = halves = strange = bad_files = acknowledged = young = 0
    files = iter(range(kills + 1))
    path, before = tmp_path / f"{next(files)}.db", 0
    for number in range(kills):
        last = killed_writer(path, before, rng.uniform(0, 0.2), "saved" if number % 3 else "child") or before
        young += last == 0
        acknowledged += last - before
        found, sound = read(path)
        texts, state = found
        bad_files += not sound
        halves += texts[::2] != [text.replace("answer", "ask") for text in texts[1::2]]
        lost += texts not in (after(last)[0], after(last + 1)[0])
        strange += found not in (after(last), after(last + 1))
        assert strange or state == ("", 0) or state[0] == texts[state[1] - 1].replace("answer", "up to")
        before = last if found == after(last) else last + 1
        if number % 5 == 4 or strange:  # new files, so that some writers die while the tables are created
            path, before = tmp_path / f"{next(files)}.db", 0
    figure(
        8,
        f"{lost} kills with a lost turn, {halves} with half a turn, {strange} with a memory state that is neither the "
        f"old nor the new one, {bad_files} bad files in {kills} kills and {acknowledged} acknowledged turns and states "
        f"({young} kills before the first); 95 % bound {3 / kills:.1%}",
    )
    assert (lost, halves, strange, bad_files) == (0, 0, 0, 0)
    assert acknowledged >= kills // 2  # the writers did write


def read(path: Path) -> tuple[Found, bool]:
    """The first words of every message and of the state, as the app opens the file; and whether the file is sound."""
    store = ConversationStore(f"sqlite:///{path}")
    found: Found = [], ("", 0)
    for made in store.list():
        state = store.memory_state(made.id)
        texts = [" ".join(message.text.split()[:2]) for message in store.messages(made.id)]
        found = texts, (state.summary.rpartition(" ")[0], state.covered)
    store.close()
    connection = sqlite3.connect(path)
    sound = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    return found, sound
