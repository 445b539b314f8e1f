"""llama.cpp's library is opened once, whoever asks first and how many; what it refuses is told in its words."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from phireside.errors import ModelLoadError
from phireside.models.engine import Engine

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


@pytest.mark.real
def test_a_context_length_that_is_no_number_is_refused_with_llama_cpp_s_own_words(
    tiny_phi3: Path, tmp_path: Path
) -> None:
    key, number = b"phi3.context_length", struct.Struct("<II")
    data = bytearray(tiny_phi3.read_bytes())
    place = data.index(key) + len(key)
    assert number.unpack_from(data, place) == (4, 4096)  # an unsigned number
    data[place : place + number.size] = struct.pack("<If", 6, 4096.5)
    (tmp_path / "odd.gguf").write_bytes(data)
    with Engine(tmp_path / "odd.gguf") as engine, pytest.raises(ModelLoadError, match="wrong type"):
        engine.load()
