"""llama.cpp's library is opened once, whoever asks first and how many."""

import subprocess
import sys

import pytest

CROWD = """
import sys, threading
from phireside.models.engine.library import build_info

barrier, found = threading.Barrier(16), []

def ask():
    barrier.wait()
    found.append(build_info())

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=ask) for _ in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(found) == 16 and len({id(each) for each in found}) == 1, len(found)
"""


@pytest.mark.real
def test_many_threads_that_ask_first_at_once_get_one_library() -> None:
    """llama.cpp's globals are not guarded: several threads in them at once crashed the process in every second run."""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", CROWD], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
