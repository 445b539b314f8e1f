"""Row 14, for KV files: damage, a killed writer or a full disk never gives a wrong state."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from phireside.models.engine.disk import StateFiles

Figure = Callable[[int, str], None]
TOKENS = list(range(100, 140))
PART = 4096
posix = pytest.mark.skipif(sys.platform == "win32", reason="forks, SIGKILL, limits of file sizes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "settings"


def faults(whole: bytes, other: bytes, header: int, chance: random.Random) -> Iterator[bytes]:
    """What a disk can make of a file.

    A bit flipped in each byte of the header and in 400 of the state; cut everywhere in the header and at 100 points of
    the state; zeros from there on; longer; parts swapped, repeated, and mixed with those of a newer file.
    """
    for place in [*range(header), *(chance.randrange(header, len(whole)) for _ in range(400))]:
        yield whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :]
    for length in [*range(header + 1), *(chance.randrange(header, len(whole)) for _ in range(100))]:
        yield whole[:length]
        yield whole[:length] + bytes(len(whole) - length)
    for tail in (b"\0", b"x" * PART, whole):
        yield whole + tail
    parts = range(header, len(whole) - PART, PART)
    for a, b in pairwise(parts):
        first, second = whole[a : a + PART], whole[b : b + PART]
        yield whole[:a] + second + first + whole[b + PART :]
        yield whole[:a] + first + first + whole[b + PART :]
        yield whole[:a] + other[a:]
        yield other[:a] + whole[a:]
        yield whole[:a] + other[a : a + PART] + whole[a + PART :]


def test_a_damaged_file_gives_no_state(folder: Path, figure: Figure) -> None:
    chance = random.Random(14)
    states = [chance.randbytes(10 * PART + 77) for _ in range(2)]
    files = StateFiles(folder, 10_000_000)
    contents = []
    for state in states:
        files.write("chat", TOKENS, state)
        path = next(folder.iterdir())
        contents.append(path.read_bytes())
    whole, other = contents
    header = len(whole) - len(states[0])
    wrong = total = kept = 0
    for fault in faults(whole, other, header, chance):
        if fault in contents:
            continue  # some of the zeros were zeros before
        for opens_damaged in (False, True):
            path.write_bytes(fault if opens_damaged else whole)
            opened = StateFiles(folder, 10_000_000)
            opened.longest(TOKENS)
            path.write_bytes(fault)
            loaded = opened.read(path)
            wrong, total, kept = wrong + (loaded is not None), total + 1, kept + path.exists()
    figure(14, f"KV files: {wrong} wrong states in {total} faults (95 % bound {3 / total:.1%})")
    assert wrong == kept == 0
    path.write_bytes(whole)
    loaded = StateFiles(folder, 10_000_000).read(path)
    assert loaded
    assert (loaded[0], bytes(loaded[1])) == (TOKENS, states[0])


# A nursery that imports once and then forks a writer for every line. Writer: states 1, 2, … of one name; every state is
# its number repeated, and acknowledged once `write` has returned.
NURSERY = """
import os, sys
from pathlib import Path
from phireside.models.engine.disk import StateFiles

def write(folder, first):
    files = StateFiles(folder, 1_000_000_000)
    number = first
    while True:
        files.write("chat", [7] * number, number.to_bytes(4, "little") * 4_000_000)
        os.write(1, b"%d\\n" % number)
        number += 1

for line in sys.stdin:
    child = os.fork()
    if not child:
        os.write(1, b"child %d\\n" % os.getpid())
        write(Path(sys.argv[1]), int(line))
    os.waitpid(child, 0)
    os.write(1, b"gone\\n")
"""


@posix
@pytest.mark.parametrize("kills", [25, pytest.param(300, marks=pytest.mark.slow)])
def test_a_writer_killed_leaves_the_old_state_or_the_new(tmp_path: Path, figure: Figure, kills: int) -> None:
    folder = tmp_path / "weights" / "settings"
    chance = random.Random(kills)
    wrong = left_over = done = 0
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as nursery:
        assert nursery.stdin
        assert nursery.stdout
        for kill in range(kills):
            print(done + 1, file=nursery.stdin, flush=True)
            child = int(nursery.stdout.readline().split()[1])
            acknowledged = [int(nursery.stdout.readline())]
            time.sleep(chance.random() * 0.03)
            while kill % 2 and not any(folder.glob("*.tmp")):
                pass  # every other time when it surely writes
            os.kill(child, signal.SIGKILL)
            acknowledged += [int(line) for line in iter(nursery.stdout.readline, "gone\n")]
            for temp in folder.glob("*.tmp"):
                temp.unlink()
                left_over += 1
            done = check(folder, acknowledged[-1])
            wrong += done == 0
            done = done or acknowledged[-1]
    figure(14, f"KV files, writer killed: {wrong} wrong or lost states in {kills} kills, {left_over} in mid-write")
    assert wrong == 0
    assert left_over > 0  # or none of this was tried


def check(folder: Path, acknowledged: int) -> int:
    """The number of the state found: the acknowledged one or the next; 0 if it is neither, or not as written."""
    files = StateFiles(folder, 1_000_000_000)
    path, length = files.longest([7] * (acknowledged + 1))
    loaded = path and files.read(path)
    if not loaded or length not in (acknowledged, acknowledged + 1):
        return 0
    right = loaded[0] == [7] * length and bytes(loaded[1]) == length.to_bytes(4, "little") * 4_000_000
    return length if right else 0


FULL_DISK = """
import resource, sys
from pathlib import Path
from phireside.models.engine.disk import StateFiles
files = StateFiles(Path(sys.argv[1]), 100_000_000)
files.write("chat", [1, 2], b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
files.write("chat", [1, 2, 3], bytes(8_000_000))
"""


@posix
def test_a_full_disk_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "weights" / "settings"
    child = subprocess.run([sys.executable, "-c", FULL_DISK, folder], capture_output=True, text=True, check=True)
    assert child.stderr.startswith("The KV state of 3 tokens cannot be kept")
    files = StateFiles(folder, 1_000_000)
    path, _ = files.longest([1, 2, 3])
    loaded = path and files.read(path)
    assert loaded
    assert (loaded[0], bytes(loaded[1])) == ([1, 2], b"old")
    assert list(folder.iterdir()) == [path]


def test_threads_on_one_folder_never_see_a_wrong_state(tmp_path: Path, figure: Figure) -> None:
    files, other = (StateFiles(tmp_path / "kv", 30_000) for _ in range(2))
    stop = threading.Event()

    def state(tokens: list[int]) -> bytes:
        return bytes(tokens) * 2000

    def write(which: tuple[StateFiles, int]) -> None:
        for number in range(40):
            tokens = [which[1], number]
            which[0].write(f"{which[1]} {number % 3}", tokens, state(tokens))

    def read(which: StateFiles) -> tuple[int, int]:
        seen = wrong = 0
        while not (stop.is_set() and seen):
            for first in (1, 2):
                path, _ = which.longest([first])
                loaded = path and which.read(path)
                if loaded:
                    seen, wrong = seen + 1, wrong + (bytes(loaded[1]) != state(loaded[0]))
        return seen, wrong

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, which) for which in (files, other)]
        try:
            list(pool.map(write, [(files, 1), (other, 2)]))
        finally:
            stop.set()
    counts = [reader.result() for reader in readers]
    wrong, total = sum(wrong for _, wrong in counts), sum(seen for seen, _ in counts)
    figure(14, f"KV files, two writers, evicting: {wrong} wrong states in {total} reads meanwhile")
    assert wrong == 0
