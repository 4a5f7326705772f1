"""What more items would decide, if a row's figures hold: by the row's own test.

Exact for shares; for drops exact up to 10,000 items and by the normal approximation above; for means by the
normal approximation of their t-test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean, pstdev

from .drop_test import DropTest
from .power import chance_to_reach
from .shares import chance_of_at_most, most_right

_POWER = 0.8
_TOO_MANY = 10  # times the items there are: more than anybody collects to settle one row
_EXACT_UP_TO = 10_000  # items, above which an exact test of a drop takes long
_Z = NormalDist()

Chance = Callable[[int, float], float]  # of a decision with so many items, at a level


@dataclass(frozen=True)
class Projection:
    """Which way a row would be decided by more items like those it has, and the chance of that."""

    is_go: bool
    chance: Chance

    def needed(self, n: int, level: float) -> int | None:
        """The items in all, above n, with which it is decided 4 times in 5; None above ten times n."""
        low, high = n, n + 1
        while self.chance(high, level) < _POWER:
            if high >= _TOO_MANY * n:
                return None
            low, high = high, min(2 * high, _TOO_MANY * n)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.chance(middle, level) >= _POWER else (middle, high)
        return high


def of_share(right: int, possibly: int, n: int, bar: float) -> Projection | None:
    """For a share against the least it must be; None where the bar lies between worst and best."""
    worst, best = right / n, possibly / n
    if worst > bar:
        return Projection(True, lambda items, level: chance_to_reach(items, bar, worst, level))
    if best < bar:
        return Projection(False, lambda items, level: _chance_to_fail(items, bar, best, level))
    return None


def of_drop(worst: tuple[int, int], best: tuple[int, int], n: int, margin: float) -> Projection | None:
    """For a paired drop against the largest it may be, from (lost, won) at worst and at best."""
    for (lost, won), is_go in ((worst, True), (best, False)):
        drop = (lost - won) / n
        if drop < margin if is_go else drop > margin:
            changing = (lost + won + 2) / (n + 2)
            return Projection(is_go, _chance_of_drop(drop, changing, margin, is_go))
    return None


def of_mean(
    worst: Sequence[float], best: Sequence[float], bar: float, made_up: tuple[float, float]
) -> Projection | None:
    """For a mean against the largest it may be; made_up: what is added for GO, and for NO_GO."""
    if fmean(worst) < bar:
        return Projection(True, _chance_below(worst, bar, made_up[0]))
    if fmean(best) > bar:
        return Projection(False, _chance_below([-value for value in best], -bar, -made_up[1]))
    return None


def _chance_to_fail(n: int, bar: float, share: float, level: float) -> float:
    return chance_of_at_most(most_right(n, bar, level), n, share)


def _chance_of_drop(drop: float, changing: float, margin: float, is_go: bool) -> Chance:
    def chance(n: int, level: float) -> float:
        if n <= _EXACT_UP_TO:
            return DropTest(n, margin).power(level, changing, drop, below=is_go)
        limit = _Z.inv_cdf(1 - level) * sqrt(max(changing, abs(margin)))
        spread = sqrt(max(changing, abs(drop)) - drop * drop)
        return _Z.cdf((abs(margin - drop) * sqrt(n) - limit) / max(spread, 1e-6))

    return chance


def _chance_below(values: Sequence[float], bar: float, made_up: float) -> Chance:
    """Of showing a mean below a bar by Student's t with one made-up item, and not by luck alone."""
    mean, spread = fmean(values), pstdev(values)

    def chance(n: int, level: float) -> float:
        from scipy.special import stdtrit

        if bar >= made_up or ((made_up - bar) / (made_up - mean)) ** n > level:
            return 0.0
        shifted = (n * mean + made_up) / (n + 1)
        squares = n * (spread**2 + (mean - shifted) ** 2) + (made_up - shifted) ** 2
        error = max(sqrt(squares / n), 1e-6) / sqrt(n + 1)
        ahead = (bar - shifted) - float(stdtrit(n, 1 - level)) * error
        return _Z.cdf(ahead / max(spread / sqrt(n), 1e-9))

    return chance
