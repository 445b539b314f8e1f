"""Measures per query, by ir-measures, and whether two systems differ on the same queries. Knows ids only, no texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phireside.errors import RequestError
from phireside.retrieval.evaluation.beir import Judgments
from phireside.retrieval.values import LARGEST

Values = NDArray[np.float64]  # of a measure, one for each query

MEASURES = ("nDCG", "MAP", "MRR", "P", "R")
"""Normalized discounted cumulative gain, mean average precision, mean reciprocal rank, precision, recall: Manning,
Raghavan & Schütze, "Introduction to Information Retrieval", chapter 8. All at k, but MAP, which is over all hits."""
_PERMUTATIONS = 10_000
_SEED = 0


@dataclass(frozen=True)
class Difference:
    """How the second of two systems differs from the first, on the same queries.

    Attributes:
        mean: of second - first.
        t: of the paired t-test; 0 where nothing differs.
        p_t: its two-sided p.
        p_randomization: two-sided p of Fisher's randomization test, from 10,000 random exchanges of signs. (Smucker,
            Allan & Carterette, "A Comparison of Statistical Significance Tests for IR Evaluation", CIKM 2007.)
    """

    mean: float
    t: float
    p_t: float
    p_randomization: float


def measured(
    rankings: Mapping[str, Sequence[str]], judgments: Judgments, queries: Sequence[str], k: int
) -> dict[str, Values]:
    """`MEASURES` by name, each with a value for each query, in their order.

    Args:
        rankings: by query, documents, best first; a query that found nothing has 0 in all measures.
        judgments: by query and document.
        queries: ids.
        k: how many of the first documents count.
    """
    from ir_measures import AP, RR, P, R, iter_calc, nDCG

    k = min(k, LARGEST)
    named = dict(zip(MEASURES, (nDCG @ k, AP, RR @ k, P @ k, R @ k), strict=True))
    names = {measure: name for name, measure in named.items()}
    run = {each: {document: -float(at) for at, document in enumerate(rankings.get(each, ()))} for each in queries}
    place = {each: at for at, each in enumerate(queries)}
    values = {name: np.zeros(len(queries)) for name in MEASURES}
    judged = {each: dict(judgments[each]) for each in queries}
    for found in iter_calc(list(named.values()), judged, {each: hits for each, hits in run.items() if hits}):
        values[names[found.measure]][place[found.query_id]] = found.value
    return values


def mean_interval(values: Values) -> tuple[float, float, float]:
    """The mean of at least one value, and where it lies with 95 % confidence if the values are many."""
    half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    mean = float(values.mean())
    return mean, mean - half, mean + half


def difference(first: Values, second: Values) -> Difference:
    """Whether the second is better than the first by more than chance.

    Raises:
        RequestError: they are not of the same queries, or of fewer than two.
    """
    from scipy import stats  # type: ignore[import-untyped]

    if first.shape != second.shape or len(first) < 2:
        raise RequestError(
            f"{len(first)} and {len(second)} values cannot be compared.",
            hint="Give both of the same queries, 2 or more.",
        )
    apart = second - first
    if not apart.any():
        return Difference(0.0, 0.0, 1.0, 1.0)
    error = float(apart.std(ddof=1)) / len(apart) ** 0.5
    t = float(apart.mean()) / max(error, 1e-12)
    p = 2 * float(stats.t.sf(abs(t), len(apart) - 1))
    signs = np.random.default_rng(_SEED).choice((-1.0, 1.0), size=(_PERMUTATIONS, len(apart)))
    extreme = np.abs(signs @ apart) >= abs(apart.sum()) - 1e-12
    return Difference(float(apart.mean()), t, p, (int(extreme.sum()) + 1) / (_PERMUTATIONS + 1))
