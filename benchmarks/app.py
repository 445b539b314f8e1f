"""What the app costs over the engine: its start, the way of a token to the page, and the start of the command line.

Everything runs on this machine: the app in a process of its own, the pages in a headless Chromium that runs already,
each browser session with its own cookies and cache. Each part is a file in app_parts/:
- start: from starting `phireside ui` to a page that can be typed into, and on to the answer's first token; divided by
  what a fresh Python process takes for that first token by llama-cpp-python alone, and by `ChatGGUF`.
- stream: from a token in the engine to that token on the page, with one browser session and with eight at once.
- command: `phireside --help` and `python -c "import typer"`, in turns.

    python benchmarks/app.py --model starter
    python benchmarks/app.py --part stream --pairs 3
"""

import argparse
import importlib
import sys

from common import Machine, parse, parser, report

PARTS = ("start", "stream", "command")


def main() -> int:
    """Measure the parts that were asked for; 1 if one misses its target."""
    options = arguments()
    machine = Machine.now()
    print(machine, f"model:   {options.path.name}", sep="\n", flush=True)
    figures, missed = {}, []
    for part in options.part:
        figures[part], met = importlib.import_module(f"app_parts.{part}").measure(options)
        missed += [] if met else [part]
    report(options, machine, figures)
    return 1 if missed else 0


def arguments() -> argparse.Namespace:
    """The command line."""
    options = parser(__doc__ or "")
    options.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), help="which (default: all)")
    options.add_argument("--sessions", type=int, nargs="+", default=[1, 8], help="of stream, at once (default: 1 8)")
    options.add_argument("--runs", type=int, default=10, help="of each command, in turns (default: 10)")
    return parse(options)


if __name__ == "__main__":
    sys.exit(main())
