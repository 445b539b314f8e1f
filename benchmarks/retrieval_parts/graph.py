"""FAISS's graph alone: recall@10 against exact, and CPU seconds of building, for its settings. One thread.

Two kinds of vectors: `clusters`, those of the part vectors; and `texts`, drawn from one normal distribution with mean
and covariance of the embedded Cranfield, which has no clusters and is harder.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np
from retrieval_parts import shared, vectors
from retrieval_parts.shared import Row

CHOICES = ((16, 80), (32, 40), (32, 80), (32, 200))  # M and efConstruction
SEARCH_WIDTHS = (64, 128, 256, 512)


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """For each size and each choice, how long building took and what was found by efSearch."""
    import faiss

    faiss.omp_set_num_threads(1)
    texts = [f"{title}\n{text}" for title, text in shared.cranfield(options.data).documents.values()]
    real = np.asarray(shared.model(options).encode(texts), np.float64)
    for count in options.sizes:
        yield from _measured(f"clusters, {count:,}", vectors.clustered(count, 1), vectors.clustered(vectors.QUERIES, 2))
        yield from _measured(f"texts, {count:,}", _alike(real, count, 1), _alike(real, vectors.QUERIES, 2))


def _alike(real: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Vectors of length 1 with the mean and the covariance of others; shape (count, size)."""
    made = np.random.default_rng(seed).multivariate_normal(real.mean(0), np.cov(real.T), count, method="eigh")
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def _measured(name: str, stored: np.ndarray, queries: np.ndarray) -> Iterator[Row]:
    import faiss

    k = vectors.K
    exact = [set(np.argpartition(-(stored @ query), k)[:k].tolist()) for query in queries]
    for links, width in CHOICES:
        index = faiss.IndexHNSWFlat(stored.shape[1], links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = width
        start = time.process_time()
        index.add(stored)
        measured = {"build_cpu_s": time.process_time() - start}
        for search in SEARCH_WIDTHS:
            found = index.search(queries, k, params=faiss.SearchParametersHNSW(efSearch=search))[1]
            right = [len(best & set(hits.tolist())) / k for best, hits in zip(exact, found, strict=True)]
            measured[f"recall@10_{search}"] = float(np.mean(right))
        yield Row(f"{name}, M {links}, efConstruction {width}", measured)
