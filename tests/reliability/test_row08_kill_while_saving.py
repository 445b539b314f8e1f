"""Row 8: the process is killed (SIGKILL) while turns are being saved.

Every operation that was acknowledged is there; the one under way is there as a whole or not at all; the file is sound
and the store opens.
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

# A nursery that imports once and then forks a writer for every path it reads. The writer saves turns 1, 2, …; every
# third one replaces the one before, as "regenerate" does. It acknowledges a turn only after save_turn has returned.
NURSERY = """
import os, sys
from langchain_core.messages import AIMessage, HumanMessage
from phireside.memory import ConversationStore

def write(path):
    store = ConversationStore(f"sqlite:///{path}")
    made = (store.list() or [store.create("kill me")])[0]
    history = store.messages(made.id)
    done = int(history[-1].text.split()[1]) if history else 0
    while True:
        done += 1
        at = len(history) - 2 if done % 3 == 0 and history else None
        turn = [HumanMessage(f"ask {done} " + "x" * 3000), AIMessage(f"answer {done} " + "y" * 9000)]
        store.save_turn(made.id, turn, at=at)
        history = store.messages(made.id)
        os.write(1, b"saved %d\\n" % done)

for line in sys.stdin:
    child = os.fork()
    if not child:
        write(line.strip())
    os.write(1, b"child %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"gone\\n")
"""


def history_after(operations: int) -> list[str]:
    """What the conversation holds after so many operations."""
    turns: list[int] = []
    for number in range(1, operations + 1):
        if number % 3 == 0:
            turns.pop()
        turns.append(number)
    return [f"{who} {number}" for number in turns for who in ("ask", "answer")]


@pytest.fixture
def killed_writer() -> Iterator[Callable[[Path, float], int | None]]:
    """`killed_writer(path, seconds)`: the last acknowledged operation of a writer that was killed after that time."""
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdin

        def run(path: Path, seconds: float) -> int | None:
            assert nursery.stdin
            assert nursery.stdout
            nursery.stdin.write(f"{path}\n")
            nursery.stdin.flush()
            lines = []
            for line in nursery.stdout:
                name, _, number = line.strip().partition(" ")
                if name == "child":
                    time.sleep(seconds)
                    kill(int(number), signal.SIGKILL)
                if name == "gone":
                    break
                if name == "saved":
                    lines.append(int(number))
            return max(lines, default=None)

        yield run
        nursery.stdin.close()


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_no_acknowledged_turn_is_lost_and_none_is_there_by_half(
    killed_writer: Callable[[Path, float], int | None], tmp_path: Path, figure: Callable[[int, str], None], kills: int
) -> None:
    rng = random.Random(8)
    lost = halves = bad_files = acknowledged = young = 0
    files = iter(range(kills + 1))
    path, before = tmp_path / f"{next(files)}.db", 0
    for number in range(kills):
        last = killed_writer(path, rng.uniform(0, 0.3)) or before
        young += last == 0
        acknowledged += last - before
        found, sound = read(path)
        bad_files += not sound
        halves += found[::2] != [text.replace("answer", "ask") for text in found[1::2]]
        if found not in (history_after(last), history_after(last + 1)):
            lost += 1
        before = last if found == history_after(last) else last + 1
        if number % 5 == 4 or lost:  # new files, so that some writers die while the tables are created
            path, before = tmp_path / f"{next(files)}.db", 0
    figure(
        8,
        f"{lost} kills with a lost turn, {halves} with half a turn, {bad_files} bad files in {kills} kills and "
        f"{acknowledged} acknowledged turns ({young} kills before the first); 95 % bound {3 / kills:.1%}",
    )
    assert (lost, halves, bad_files) == (0, 0, 0)
    assert acknowledged > kills  # the writers did write


def read(path: Path) -> tuple[list[str], bool]:
    """The first two words of every message, as the app opens the file after the kill; and whether the file is sound."""
    store = ConversationStore(f"sqlite:///{path}")
    found = [" ".join(m.text.split()[:2]) for c in store.list() for m in store.messages(c.id)]
    store.close()
    connection = sqlite3.connect(path)
    sound = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    return found, sound
