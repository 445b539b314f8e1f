"""`phireside --help`, and beside it a Python that only imports what the command line is made with. Target: 0.5 s."""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from common import Spread, ratios, take_turns

OURS, PEER = "phireside --help", "import typer"
TARGET = 0.5  # seconds


def measure(options: argparse.Namespace) -> tuple[list[dict[str, float]], bool]:
    """Seconds of each in each pair, and whether ours is below the target."""
    arms = {
        OURS: partial(seconds, [str(Path(sys.executable).with_name("phireside")), "--help"]),
        PEER: partial(seconds, [sys.executable, "-c", "import typer"]),
    }
    for arm in arms.values():
        arm(-1)
    results = take_turns(arms, options.runs)
    for name in arms:
        print(f"command  {name:16} {Spread.of([pair[name] for pair in results]).text(3)} s")
    print(f"command  {'ratio':16} {ratios(results, OURS, PEER, float).text(2)}", flush=True)
    return results, met(results)


def met(results: Sequence[dict[str, float]]) -> bool:
    """Whether the median of ours is below the target."""
    return Spread.of([pair[OURS] for pair in results]).median < TARGET


def seconds(command: Sequence[str], _pair: int) -> float:
    """How long a command takes until it has ended."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
