"""Search in many vectors of 384 numbers: ours (SQLite with FAISS) beside LangChain's FAISS, each in its own process.

The vectors: points around 1,000 random centres, of length 1, as embeddings cluster; queries: 200 such points that are
not among them. recall@10: share of the exact ten nearest that were found. Memory: growth of the process from before
building (or loading) until after the queries. LangChain's loads its own pickle.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from langchain_core.embeddings import Embeddings
from retrieval_parts.shared import Row, percentile

SIZE, CENTRES, QUERIES, K = 384, 1000, 200, 10
AT_ONCE = 10_000


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """For each size, building and searching, then loading and searching; ours first."""
    for count in options.sizes:
        for who in ("ours", "langchain"):
            with tempfile.TemporaryDirectory() as folder:
                for what in ("build", "load"):
                    command = [sys.executable, "-m", "retrieval_parts.vectors", who, what, str(count), folder]
                    done = subprocess.run(
                        [*command, str(options.threads)], capture_output=True, text=True, cwd=Path(__file__).parents[1]
                    )
                    if done.returncode:
                        yield Row(f"{who}, {count:,}, {what}", {"failed": done.stderr.strip().splitlines()[-1]})
                        break
                    yield Row(f"{who}, {count:,}, {what}", json.loads(done.stdout.splitlines()[-1]))


def clustered(count: int, seed: int) -> np.ndarray:
    """Points around centres, of length 1; shape (count, SIZE). The centres are always the same."""
    centres = np.random.default_rng(0).normal(size=(CENTRES, SIZE)).astype(np.float32)
    random = np.random.default_rng(seed)
    found = centres[random.integers(CENTRES, size=count)]
    found += random.normal(scale=0.7, size=found.shape).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


class Given(Embeddings):
    """An embedding model that is asked nothing that matters: all vectors are given."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:  # noqa: D102
        return [clustered(1, 7)[0].tolist() for _ in texts]

    def embed_query(self, text: str) -> list[float]:  # noqa: ARG002, D102
        return clustered(1, 7)[0].tolist()


def main(who: str, what: str, count: int, folder: Path, threads: int) -> dict[str, Any]:
    """Build or load, then search; the figures."""
    import faiss

    faiss.omp_set_num_threads(threads)
    vectors = clustered(count, 1)
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    ask = (_ours if who == "ours" else _langchain)(what, vectors, folder)
    queries = clustered(QUERIES, 2)
    first = ask(queries[0])
    ready = time.perf_counter() - start
    seconds, hits = [], []
    for query in queries:
        begin = time.perf_counter()
        hits.append(ask(query))
        seconds.append(time.perf_counter() - begin)
    grown = psutil.Process().memory_info().rss - before
    exact = [np.argpartition(-(vectors @ query), K)[:K].tolist() for query in queries]
    right = [len(set(found) & set(map(str, best))) / K for found, best in zip(hits, exact, strict=True)]
    assert len(first) == K
    return {
        "recall@10": float(np.mean(right)), "p50_ms": 1000 * percentile(seconds, 0.5),
        "p95_ms": 1000 * percentile(seconds, 0.95), "ready_s": ready, "memory_mb": grown / 1e6,
        "disk_mb": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6,
    }  # fmt: skip


def _ours(what: str, vectors: np.ndarray, folder: Path) -> Any:
    from phireside.retrieval import KnowledgeBase

    base = KnowledgeBase(folder / "base", Given())
    if what == "build":
        for at in range(0, len(vectors), AT_ONCE):
            part = vectors[at : at + AT_ONCE]
            names = [str(at + number) for number in range(len(part))]
            base.add_embeddings(zip(names, part, strict=True), ids=names)
        base.write_index()
    return lambda query: [each for each, _ in base.dense(query, K)]


def _langchain(what: str, vectors: np.ndarray, folder: Path) -> Any:
    from langchain_community.vectorstores import FAISS

    if what == "build":
        names = [str(number) for number in range(len(vectors))]
        store = FAISS.from_embeddings(zip(names, vectors, strict=True), Given(), ids=names)
        store.save_local(str(folder))
    else:
        store = FAISS.load_local(str(folder), Given(), allow_dangerous_deserialization=True)
    return lambda query: [hit.page_content for hit in store.similarity_search_by_vector(query.tolist(), k=K)]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))))
