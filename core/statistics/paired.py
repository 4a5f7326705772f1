"""Two models' right and wrong answers to the same items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .drop_test import DropTest


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
        """Interval of the drop by inverting the exact test of `DropTest`; (-1, 1) when n is 0.

        It holds 0 exactly when `p_value` is above 1 - confidence: McNemar's test is the one for no drop.
        """
        if self.n == 0:
            return -1.0, 1.0
        alpha = (1 - confidence) / 2
        low = DropTest.lower_bound(self.n, self.lost, self.won, alpha)
        high = DropTest.upper_bound(self.n, self.lost, self.won, alpha)
        if self.p_value > 2 * alpha:
            return min(low, 0.0), max(high, 0.0)
        return (max(low, 0.0), high) if self.drop > 0 else (low, min(high, 0.0))


def paired(before: Sequence[bool], now: Sequence[bool]) -> Paired:
    """Counts of two models' right answers, item by item in the same order."""
    both = list(zip(before, now, strict=True))
    return Paired(len(both), sum(b and not n for b, n in both), sum(n and not b for b, n in both))


def mcnemar_exact(lost: int, won: int) -> float:
    """Two-sided exact p-value that losses and wins are equally likely; 1 when there are none.

    Source: McNemar, Psychometrika 12 (1947) 153-157, with the binomial distribution in place of its normal
    approximation.
    """
    return min(1.0, 2 * mcnemar_one_sided(min(lost, won), max(lost, won)))


def mcnemar_one_sided(lost: int, won: int) -> float:
    """Exact p-value against "losses are at least as likely as wins": small when the new one is better.

    Whole numbers throughout, so nothing is lost in a far tail.
    """
    n = lost + won
    term = tail = 1
    for i in range(lost):
        term = term * (n - i) // (i + 1)
        tail += term
    return min(1.0, tail / (1 << n))
