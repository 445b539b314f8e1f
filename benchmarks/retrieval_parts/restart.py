"""Seconds from a new process to Cranfield's first hits: by words alone, and with all stages, for which torch loads."""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from retrieval_parts.shared import Row, base

PROGRAM = """
import sys, time
start = time.perf_counter()
from pathlib import Path
from phireside.models.embeddings import embeddings
from phireside.retrieval import KnowledgeBase
from phireside.retrieval.search import Search, search
base = KnowledgeBase(Path(sys.argv[1]), embeddings(sys.argv[2]))
stages = ("keyword",) if sys.argv[3] == "keyword" else None
assert search(base, "heat transfer in a laminar boundary layer", Search(stages=stages))
start, first = time.perf_counter(), time.perf_counter() - start
assert search(base, "supersonic flow past a cone", Search(stages=stages))
print(first, time.perf_counter() - start)
"""


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """One row for each."""
    base(options).close()
    for stages in ("keyword", "all"):
        whole, first, second = [], [], []
        for _ in range(options.pairs):
            start = time.perf_counter()
            command = [sys.executable, "-c", PROGRAM, str(options.folder / "base"), options.embeddings, stages]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            whole.append(time.perf_counter() - start)
            seconds = done.stdout.split()
            first.append(float(seconds[0]))
            second.append(float(seconds[1]))
        figures = {"process_s": whole, "first_s": first, "second_s": second}
        yield Row(f"{stages}", {name: statistics.median(values) for name, values in figures.items()})
