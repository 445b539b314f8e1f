"""All rows of the engine's table, one after another: runs them, collects their RESULT lines, writes table and plot.

Each row is a process of its own, so that none runs beside another's model. Results are appended to `--results` as JSON
lines; what is there for a row and a model is not run again, so that a broken run goes on where it stopped. A row that
fails or misses its target is shown as such, and the rest still runs. `--draw` only draws what is there.

    python benchmarks/engine/run_all.py --models starter /tmp/phi3-shape.gguf --results /tmp/rows.jsonl
    python benchmarks/engine/run_all.py --draw --results /tmp/rows.jsonl --table /tmp/rows.md --plot docs/engine.svg
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plot
from rows import MARK

ROWS = ("chats", "batched", "samples", "scoring", "grammars", "reopen", "families", "lookup")
# Phi-3's shape is some fifteen times slower: shorter runs, and a higher target where reading costs more.
FOR_PHI = {
    "chats": ["--tokens", "64"],
    "batched": ["--tokens", "64"],
    "reopen": ["--target", "100"],
    "families": ["--turns", "5"],
    "lookup": ["--tokens", "48", "--passages", "1"],
}


def main() -> int:
    """Run what is missing, then draw; 1 if a row failed to give results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["starter"], help="catalogue names or paths (default: starter)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="which of them (default: all)")
    parser.add_argument("--pairs", type=int, default=5, help="of each row (default: 5)")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines, appended to")
    parser.add_argument("--table", type=Path, help="write the table to this Markdown file; printed otherwise")
    parser.add_argument("--plot", type=Path, help="write the plot to this SVG file")
    parser.add_argument("--draw", action="store_true", help="run nothing")
    options = parser.parse_args()
    failed = [] if options.draw else run_missing(options)
    results = [result for entry in read(options.results) for result in entry["results"]]
    table = plot.table(results)
    if options.table:
        options.table.write_text(table)
    else:
        print(table)
    if options.plot:
        options.plot.write_text(plot.svg(results))
    for name in failed:
        print(f"FAILED: {name} gave no result")
    return int(bool(failed))


def run_missing(options: argparse.Namespace) -> list[str]:
    """Run the rows that have no results yet; those that gave none."""
    done = {(entry["script"], entry["model"]) for entry in read(options.results)}
    failed = []
    for model in options.models:
        for row in options.rows:
            if (row, model) in done:
                continue
            print(f"==> {row} on {model}", flush=True)
            results = run(row, model, options.pairs)
            if not results:
                failed.append(f"{row} on {model}")
                continue
            with options.results.open("a") as file:
                file.write(json.dumps({"script": row, "model": model, "results": results}) + "\n")
    return failed


def run(row: str, model: str, pairs: int) -> list[dict[str, Any]]:
    """Run one row, show its output, and collect its results."""
    command = [sys.executable, str(Path(__file__).with_name(f"{row}.py")), "--model", model, "--pairs", str(pairs)]
    command += FOR_PHI.get(row, []) if "phi" in Path(model).name.lower() else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    process.wait()
    return found(lines)


def found(lines: Sequence[str]) -> list[dict[str, Any]]:
    """The results in a row's output."""
    return [json.loads(line.removeprefix(MARK)) for line in lines if line.startswith(MARK)]


def read(path: Path) -> list[dict[str, Any]]:
    """What was collected so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
