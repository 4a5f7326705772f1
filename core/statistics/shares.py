"""A share of items, with its exact tests and its intervals."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist


def wilson(right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a share: (low, high), both within [0, 1]; (0, 1) when n is 0.

    Source: Wilson, JASA 22 (1927) 209-212.
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if right == 0 else max(0.0, centre - half)
    high = 1.0 if right == n else min(1.0, centre + half)
    return low, high


def chance_of_at_least(right: int, n: int, share: float) -> float:
    """P(X >= right) for X binomial of n items, each right with chance `share`."""
    from scipy.special import bdtrc

    return 1.0 if right <= 0 else float(bdtrc(right - 1, n, share))


def chance_of_at_most(right: int, n: int, share: float) -> float:
    """P(X <= right) for X binomial of n items, each right with chance `share`."""
    from scipy.special import bdtr

    return 1.0 if right >= n else 0.0 if right < 0 else float(bdtr(right, n, share))


def most_right(n: int, bar: float, level: float) -> int:
    """The most right of n items that show a share to be below a bar; -1 when no number does."""
    low, high = -1, n + 1  # the chance rises with what is right
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if chance_of_at_most(middle, n, bar) <= level else (low, middle)
    return low


def lower_bound(right: int, n: int, alpha: float) -> float:
    """The largest share that `right` of n items show to be reached, one-sided at alpha.

    Source: Clopper and Pearson, Biometrika 26 (1934) 404-413.
    """
    from scipy.special import betaincinv

    return 0.0 if right <= 0 else float(betaincinv(right, n - right + 1, alpha))


def upper_bound(right: int, n: int, alpha: float) -> float:
    """The smallest share that `right` of n items show not to be reached, one-sided at alpha."""
    return 1.0 - lower_bound(n - right, n, alpha)
