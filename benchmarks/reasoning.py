"""Reasoning and structured output: how often they are right, and what they cost, ours and LangChain's.

Each part is a file in reasoning_parts/:
- svamp: 150 word problems: at once, chain of thought, self-consistency, tree of thought; `ChatLlamaCpp` beside them.
- samples: seconds of 8 samples in one batch, beside those of one.
- forms: how many of 200 answers per form are well-formed, ours and the peer's.
- labels: classification of 200 texts, beside free text that is parsed.

Shares have 95 % intervals (Wilson). SmolLM2-135M is near chance at arithmetic; the same command takes any other model.

    python benchmarks/reasoning.py --model starter --results /tmp/reasoning.jsonl
    python benchmarks/reasoning.py --model phi-3 --part svamp samples --rows 150
"""

import argparse
import importlib
import json
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

from common import Machine, parse, parser

PARTS = ("svamp", "samples", "forms", "labels")
SHARED = Path(__file__).parents[2] / "shared" / "data"


def main() -> int:
    """Measure the parts that were asked for; each row is printed and kept as soon as it is there."""
    options = arguments()
    machine = Machine.now()
    print(machine, f"model:   {options.path.name}", sep="\n", flush=True)
    warnings.simplefilter("ignore")  # the peer is deprecated, and says so
    for part in options.part:
        for row in importlib.import_module(f"reasoning_parts.{part}").rows(options):
            print(row, flush=True)
            if options.results:
                entry = {"model": options.path.stem, "machine": asdict(machine), **row.data()}
                with options.results.open("a") as file:
                    file.write(json.dumps(entry, default=str) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    options = parser(__doc__)
    options.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), help="which of them (default: all)")
    options.add_argument("--data", type=Path, default=SHARED, help=f"folder with svamp-150.json (default: {SHARED})")
    options.add_argument("--rows", type=int, default=25, help="SVAMP problems, at most 150 (default: 25)")
    options.add_argument("--max-tokens", type=int, default=64, help="of each path's reasoning (default: 64)")
    options.add_argument("--n-gpu-layers", type=int, default=-1, help="on both sides; -1 = all (default)")
    options.add_argument("--results", type=Path, help="append each row to this file, as a line of JSON")
    return parse(options)


if __name__ == "__main__":
    sys.exit(main())
