"""How sure a share of successes is. Knows nothing of scenarios; benchmarks use it as well."""

import math
from statistics import NormalDist


def wilson(right: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval that holds the true share with this confidence (E. B. Wilson 1927).

    Args:
        right: of `total`, which is above 0.
        total: answers.
        confidence: above 0 and below 1.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, scale = right / total, 1 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / scale
    return (0.0 if right == 0 else middle - half), (1.0 if right == total else middle + half)
