"""Reciprocal-rank fusion and maximal marginal relevance. Knows ids, scores and vectors, no texts."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from phireside.retrieval.embedder import Vectors

Ranking = list[tuple[str, float]]  # ids with scores, best first

RRF_K = 60  # of the paper


def reciprocal_rank_fusion(rankings: Sequence[Ranking], k: float = RRF_K) -> Ranking:
    """One ranking of all ids: the sum of 1 / (k + rank) over the rankings in which an id stands.

    Cormack, Clarke & Büttcher, "Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank Learning Methods",
    SIGIR 2009. Scores of different scales (cosines, BM25) need not be made comparable.

    Args:
        rankings: best first; ranks count from 1.
        k: the larger, the less the first places count.

    Returns:
        Ids with sums, best first; equal ones in the order of their ids.
    """
    parts: dict[str, list[float]] = defaultdict(list)
    for ranking in rankings:
        for rank, (each, _) in enumerate(ranking, 1):
            parts[each].append(1 / (k + rank))
    sums = {each: math.fsum(terms) for each, terms in parts.items()}  # the same in whatever order they come
    return sorted(sums.items(), key=lambda hit: (-hit[1], hit[0]))


def diverse(ranking: Ranking, vectors: Vectors, diversity: float, k: int) -> Ranking:
    """The k that are relevant and unlike each other: maximal marginal relevance.

    Carbonell & Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries",
    SIGIR 1998. Relevance is the ranking's own score, scaled to 0 … 1 among these candidates, so that what fusion and
    reranking found out is kept; LangChain's function would order by the cosine to the query instead.

    Args:
        ranking: candidates.
        vectors: of the candidates, of length 1; shape (len(ranking), size).
        diversity: 0 = the ranking as it is, 1 = only unlikeness counts after the first.
        k: most that are taken.

    Returns:
        Candidates with their own scores, in the order in which they were taken.
    """
    if not ranking:
        return []
    scores = np.array([score for _, score in ranking])
    relevance = (scores - scores.min()) / (np.ptp(scores) or 1.0)
    similar = vectors @ vectors.T
    chosen: list[int] = [0]
    while len(chosen) < min(k, len(ranking)):
        worth = (1 - diversity) * relevance - diversity * similar[:, chosen].max(axis=1)
        worth[chosen] = -np.inf
        chosen.append(int(worth.argmax()))
    return [ranking[place] for place in chosen]
