"""Answers from documents: how often they are right, grounded and cited, and what they cost; ours and the book's.

The document is SQuAD 2.0's article *Normans*: 39 paragraphs, 96 questions that it answers and 112 that it does not.
Both sides get the same passages from the same retriever. Each part is a file in rag_parts/:
- answers: sentences under the grammar, words of a passage, and the book's `RetrievalQA` over `LlamaCpp`.
- checks: how well each way of checking tells sentences that a passage supports from those that it does not.
- words: what prior and overlap are worth in choosing words.

    python benchmarks/rag.py --limit 40
    python benchmarks/rag.py --part checks --limit 40
"""

import argparse
import importlib
import sys
import warnings
from pathlib import Path

from common import Machine, parse, parser, report

PARTS = ("answers", "checks", "words")
NORMANS = Path(__file__).parents[2] / "shared" / "data" / "squad2-normans.json"


def main() -> int:
    """Measure the parts that were asked for."""
    options = arguments()
    machine = Machine.now()
    print(machine, f"model:   {options.path.name}", sep="\n", flush=True)
    warnings.simplefilter("ignore")  # the peer is deprecated, and says so
    figures = {part: importlib.import_module(f"rag_parts.{part}").measure(options) for part in options.part}
    report(options, machine, figures)
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    options = parser(__doc__)
    options.add_argument("--part", nargs="+", choices=PARTS, default=["answers"], help="which (default: answers)")
    options.add_argument("--data", type=Path, default=NORMANS, help=f"squad2-normans.json (default: {NORMANS})")
    options.add_argument("--limit", type=int, default=0, help="questions, half of them without an answer; 0 = all")
    options.add_argument("--passages", type=int, default=3, help="that each question gets (default: 3)")
    options.add_argument("--arms", nargs="+", default=["sentences", "words", "book"], help="of answers (default: all)")
    options.add_argument("--max-tokens", type=int, default=64, help="of an answer, on both sides (default: 64)")
    return parse(options)


if __name__ == "__main__":
    sys.exit(main())
