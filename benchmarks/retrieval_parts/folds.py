"""Feedback's numbers chosen on one half of Cranfield's queries and measured on the other: 50 random halvings.

What is printed is the nDCG@10 of each query in the half that its numbers were not chosen on, so that nothing was tuned
on what it is measured with; beside it those of the numbers that ship.
"""

import argparse
from collections.abc import Iterator
from itertools import product

import numpy as np
from retrieval_parts.shared import Row, base, compared, cranfield

PASSAGES, BETAS, HALVINGS, K = (1, 2, 3, 5, 10), (0.5, 1.0, 2.0, 3.0), 50, 10


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """One row for the halvings, and one for what ships."""
    from phireside.retrieval import feedback
    from phireside.retrieval.evaluation import difference, measured
    from phireside.retrieval.feedback import rocchio
    from phireside.retrieval.fusion import reciprocal_rank_fusion
    from phireside.retrieval.search import Search, trace

    collection, opened = cranfield(options.data), base(options)
    sources = {str(each.id): each.metadata["source"] for document in opened.documents()
               for each in opened.chunks(document.id)}  # fmt: skip
    queries = [each for each in collection.queries if any(collection.judgments.get(each, {}).values())]
    choices = list(product(PASSAGES, BETAS))
    rankings: dict[tuple[int, float] | str, dict[str, list[str]]] = {choice: {} for choice in [*choices, "hybrid"]}
    for each in queries:
        found = trace(opened, collection.queries[each], Search(stages=("dense", "keyword")))
        hybrid = [hit for hit, _ in found.last]
        rankings["hybrid"][each] = [sources[hit] for hit in hybrid]
        for count, beta in choices:
            moved = opened.dense(rocchio(found.vector, opened.vectors(hybrid[:count]), beta), 100)
            fused = reciprocal_rank_fusion([moved, found.rankings["keyword"]])
            rankings[count, beta][each] = [sources[hit] for hit, _ in fused]
    values = {name: measured(run, collection.judgments, queries, K)["nDCG"] for name, run in rankings.items()}
    table = np.array([values[choice] for choice in choices])
    held = np.mean([_halved(table, np.random.default_rng(seed)) for seed in range(HALVINGS)], axis=0)
    shipped = values[feedback.PASSAGES, feedback.BETA]
    yield Row("hybrid", {"nDCG": float(values["hybrid"].mean())})
    yield Row(f"feedback, chosen on the other half, {HALVINGS} times",
              {"nDCG": float(held.mean()), "to": "hybrid", **compared(difference(values["hybrid"], held))})  # fmt: skip
    yield Row(f"feedback, {feedback.PASSAGES} passages, beta {feedback.BETA}", {"nDCG": float(shipped.mean())})
    opened.close()


def _halved(table: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The values of each query under the choice that is best for the other half's mean."""
    order = random.permutation(table.shape[1])
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    found = np.empty(table.shape[1])
    for here, there in (halves, halves[::-1]):
        found[here] = table[table[:, there].mean(axis=1).argmax(), here]
    return found
