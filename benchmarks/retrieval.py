"""Search: how well Cranfield's documents are found and what each stage is worth, how fast texts are embedded and found.

Each part is a file in retrieval_parts/:
- cranfield: every stage's measures with p values, beside LangChain's FAISS, BM25Retriever and EnsembleRetriever.
- folds: the feedback's two numbers chosen on one half of the queries and measured on the other, over and over.
- rerank: late interaction and a chat model's yes or no, on some of the queries; any cross-encoder with --reranker.
- chunking: ways to cut documents, by what they bring within a number of tokens.
- threshold: cosines of relevant passages beside those of the best passages for questions about something else.
- indexing: texts a second of our embeddings, divided by those of a bare SentenceTransformer.encode.
- vectors: search in random clustered vectors: recall, p50 and p95, memory, build and load, beside LangChain's FAISS.
- graph: FAISS's graph alone: recall and build time for its settings.
- restart: seconds from a new process to the first hits.

The figures of cranfield, folds, rerank, chunking and threshold do not depend on the machine's load; the others want a
quiet one.

    python benchmarks/retrieval.py --part cranfield folds chunking threshold
    python benchmarks/retrieval.py --part rerank --queries 40
    python benchmarks/retrieval.py --part indexing vectors restart --sizes 10000 100000
"""

import argparse
import importlib
import json
import sys
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path

from common import Machine, physical_cores

PARTS = ("cranfield", "folds", "rerank", "chunking", "threshold", "indexing", "vectors", "graph", "restart")
SHARED = Path(__file__).parents[2] / "shared" / "data"


def main() -> int:
    """Measure the parts that were asked for; each row is printed and kept as soon as it is there."""
    options = arguments()
    machine = Machine.now()
    print(machine, flush=True)
    warnings.simplefilter("ignore")  # the peers are deprecated, and say so
    with tempfile.TemporaryDirectory(prefix="phireside-retrieval-") as folder:
        options.folder = options.keep or Path(folder)
        for part in options.part:
            for row in importlib.import_module(f"retrieval_parts.{part}").rows(options):
                print(f"{part}: {row}", flush=True)
                if options.results:
                    with options.results.open("a") as file:
                        file.write(json.dumps({"part": part, "machine": asdict(machine), **asdict(row)}) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), help="which of them (default: all)")
    options.add_argument("--data", type=Path, default=SHARED, help=f"folder with cranfield/ (default: {SHARED})")
    options.add_argument("--embeddings", default="starter", help="embedding model (default: starter)")
    options.add_argument("--reranker", nargs="+", default=["late:starter", "chat:starter"], help="for the part rerank")
    options.add_argument("--queries", type=int, default=225, help="for the part rerank: how many (default: all 225)")
    options.add_argument("--pairs", type=int, default=5, help="how often everyone takes a turn (default: 5)")
    options.add_argument("--texts", type=int, default=200, help="for the part indexing (default: 200)")
    options.add_argument("--threads", type=int, default=physical_cores(), help="of torch and FAISS (default: cores)")
    options.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], help="for the part vectors")
    options.add_argument("--keep", type=Path, help="folder for the indexed Cranfield, used again the next time")
    options.add_argument("--results", type=Path, help="append each row to this file, as a line of JSON")
    return options.parse_args()


if __name__ == "__main__":
    sys.exit(main())
