"""Texts a second of what indexing calls, divided by a bare `SentenceTransformer.encode`, in alternating order.

Bare: float32, as sentence-transformers loads the model, batches of 32, the same texts and threads. Ours: float32, the
numbers that "auto" chooses on this machine, and all of adding to a base: chunks, vectors, words, rows, FAISS.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import ratios, take_turns
from retrieval_parts.shared import Row, cranfield


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """The bare one, then ours with its ratio to it."""
    import torch
    from sentence_transformers import SentenceTransformer

    from phireside.models.embeddings import SentenceEmbeddings, model_folder
    from phireside.retrieval.evaluation import Collection, base_of

    torch.set_num_threads(options.threads)
    documents = dict(list(cranfield(options.data).documents.items())[: options.texts])
    texts = [f"{title}\n{text}" for title, text in documents.values()]
    bare = SentenceTransformer(str(model_folder(options.embeddings)), device="cpu")
    exact, fast = (SentenceEmbeddings(options.embeddings, numbers=each) for each in ("float32", "auto"))

    def adding(embeddings: SentenceEmbeddings) -> None:
        with tempfile.TemporaryDirectory() as folder:
            base_of(Collection(documents, {}, {}), Path(folder), embeddings).close()

    arms: dict[str, Any] = {
        "bare encode": lambda: bare.encode(texts, batch_size=32, show_progress_bar=False),
        "ours, float32": lambda: exact.encode(texts),
        "ours, auto": lambda: fast.encode(texts),
        "adding to a base, float32": lambda: adding(exact),
        "adding to a base, auto": lambda: adding(fast),
    }
    for work in list(arms.values())[:3]:
        work()  # loads and warms up

    def timed(work: Any) -> Any:
        def run(_: int) -> float:
            start = time.perf_counter()
            work()
            return len(texts) / (time.perf_counter() - start)

        return run

    results = take_turns({name: timed(work) for name, work in arms.items()}, options.pairs)
    for name in arms:
        ratio = ratios(results, name, "bare encode", float)
        spread = sorted(pair[name] for pair in results)
        figures = {"texts_per_s": spread[len(spread) // 2], "to_bare": ratio.text(2)}
        yield Row(name, figures)
