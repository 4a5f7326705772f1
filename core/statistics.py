"""Statistics of shares and of paired answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist


def wilson(right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a share: (low, high), both within [0, 1]; (0, 1) when n is 0.

    Source: Wilson, JASA 22 (1927) 209-212.
    """
    if n == 0:
        return 0.0, 1.0
    z = _z(confidence)
    share = right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if right == 0 else max(0.0, centre - half)
    high = 1.0 if right == n else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True)
class Paired:
    """Two models on the same `n` items: `lost` were right before and are wrong now, `won` the reverse."""

    n: int
    lost: int
    won: int

    @property
    def drop(self) -> float:
        """Share right before minus share right now, -1 to 1."""
        return (self.lost - self.won) / self.n if self.n else 0.0

    @property
    def p_value(self) -> float:
        """Two-sided exact McNemar test of no difference."""
        return mcnemar_exact(self.lost, self.won)

    def drop_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Interval of the drop: Wald with one made-up loss and win added; (-1, 1) when n is 0.

        Source: Bonett and Price, J. Educ. Behav. Stat. 37 (2012) 479-488.
        """
        if self.n == 0:
            return -1.0, 1.0
        lost, won = (self.lost + 1) / (self.n + 2), (self.won + 1) / (self.n + 2)
        half = _z(confidence) * sqrt((lost + won - (lost - won) ** 2) / (self.n + 2))
        return max(-1.0, lost - won - half), min(1.0, lost - won + half)


def paired(before: Sequence[bool], now: Sequence[bool]) -> Paired:
    """Counts of two models' right answers, item by item in the same order."""
    both = list(zip(before, now, strict=True))
    return Paired(len(both), sum(b and not n for b, n in both), sum(n and not b for b, n in both))


def mcnemar_exact(lost: int, won: int) -> float:
    """Two-sided exact p-value that losses and wins are equally likely; 1 when there are none.

    Whole numbers throughout, so nothing is lost in a far tail. Source: McNemar, Psychometrika 12 (1947)
    153-157, with the binomial distribution in place of its normal approximation.
    """
    n = lost + won
    term = tail = 1
    for i in range(min(lost, won)):
        term = term * (n - i) // (i + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << n))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in the order given.

    Source: Holm, Scand. J. Stat. 6 (1979) 65-70.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
