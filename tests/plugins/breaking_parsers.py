"""Parsers that do what parsers should not. They run in the child of `phireside.retrieval.loading.process` only."""

import ctypes
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def crash(data: bytes) -> None:
    """A real segmentation fault."""
    ctypes.string_at(0)


def leave(data: bytes) -> None:
    os._exit(3)


def loop(data: bytes) -> None:
    while True:
        pass


def sleep(data: bytes) -> None:
    time.sleep(600)


def grow(data: bytes) -> None:
    held = []
    while True:
        held.append(b"x" * 10_000_000)


def swell(data: bytes, size: int) -> int:
    """Take memory, and give it back."""
    return len(bytearray(size))


def complain(data: bytes) -> None:
    raise ValueError("no such table")


def recurse(data: bytes) -> None:
    recurse(data)


def long_answer(data: bytes) -> str:
    return "x" * 100_000


def chatter(data: bytes) -> str:
    """Writes into the pipe of answers, or where it believes that to be."""
    print("99999999999")
    os.write(1, b"5\nhello")
    sys.stdin.read()
    return "said"


def no_json(data: bytes) -> Any:
    return object()


def read_file(data: bytes, path: str) -> str:
    return Path(path).read_text()


def write_file(data: bytes, path: str) -> None:
    Path(path).write_text("x")


def call(data: bytes, port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=2).close()


def call_beneath_python(data: bytes, port: int) -> int:
    """Connect by the C library, which Python's audit hooks do not see; the error number, 0 if it is through."""
    libc = ctypes.CDLL(None, use_errno=True)
    made = libc.socket(2, 1, 0)
    address = b"\x02\x00" + port.to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
    return ctypes.get_errno() if libc.connect(made, address, 16) else 0


def start_program(data: bytes) -> None:
    subprocess.run(["true"], check=True)


def secrets(data: bytes) -> dict[str, str]:
    return dict(os.environ)


def loaded(data: bytes) -> list[str]:
    return sorted({name.partition(".")[0] for name in sys.modules})


def who(data: bytes) -> int:
    return os.getpid()
