"""What a set of items can show, before anything is measured on it.

discordance: the share of items that one of two models gets right and the other wrong. For scores that are not
just right or wrong it is the mean square of their difference, which is at most that. `n` counts items, or
groups where items come in groups. Powers are for one row of a gate; a gate of k rows that are all well inside
their bars passes with at least 1 - k (1 - power).
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor, log, sqrt
from statistics import NormalDist

from .drop_test import DropTest
from .shares import chance_of_at_least, chance_of_at_most, most_right

USUAL_DISCORDANCE = 0.1
"""Of a model and its retraining, where nothing is known: one item in ten."""
_EXACT_BELOW = 20_000  # items; above, the normal approximation is within a tenth of a point, and quicker
_STEP = 0.0025


def least_items_for_bar(bar: float, alpha: float = 0.05) -> int | None:
    """Fewest items of which all right would show a share of `bar`; None for a bar of 1, which none shows."""
    return None if bar >= 1 else max(1, ceil(log(alpha) / log(bar) - 1e-9)) if bar > 0 else 1


def least_items_for_margin(margin: float, alpha: float = 0.05) -> int | None:
    """Fewest items on which a model that lost none would pass a margin; None for one of 0."""
    return None if margin <= 0 else least_items_for_bar(1 - margin, alpha)


def smallest_margin(
    n: int, discordance: float = USUAL_DISCORDANCE, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest margin, in steps of a quarter point, at which a model as good as stable passes.

    With this power; None when no margin under 1 does.
    """
    z, z_power = _z(1 - alpha), _z(power)

    def passes(margin: float) -> bool:
        if margin <= 0 or n < (least_items_for_margin(margin, alpha) or n + 1):
            return False
        if n < _EXACT_BELOW:
            return DropTest(n, margin).power(alpha, discordance, 0.0) >= power
        return margin * sqrt(n) >= z * sqrt(max(discordance, margin)) + z_power * sqrt(discordance)

    return _first(passes, 0.0, 1.0)


def chance_to_pass(
    n: int, margin: float, discordance: float = USUAL_DISCORDANCE, alpha: float = 0.05
) -> float:
    """P(GO) of one paired row when nothing was lost; margin above 0 and below 1."""
    return DropTest(n, margin).power(alpha, discordance, 0.0)


def smallest_visible_drop(
    n: int,
    margin: float,
    discordance: float = USUAL_DISCORDANCE,
    alpha: float = 0.05,
    rows: int = 1,
    power: float = 0.8,
) -> float | None:
    """The smallest true drop that makes one of `rows` rows NO_GO with this power; None: none does."""
    level = alpha / rows
    z = _z(1 - level) + _z(power)
    test = DropTest(n, margin) if n < _EXACT_BELOW else None

    def found(drop: float) -> bool:
        if test is not None:
            return test.power(level, discordance, drop, below=False) >= power
        return drop >= margin + z * sqrt(max(discordance, drop) / n)

    return _first(found, margin, 1.0)


def chance_to_reach(n: int, bar: float, share: float, alpha: float = 0.05) -> float:
    """P(GO) of one row with a bar when the true share is `share`: exact binomial."""
    least = fewest_right(n, bar, alpha)
    return 0.0 if least is None else chance_of_at_least(least, n, share)


def passing_share(n: int, bar: float, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest true share that passes a bar with this power; None when none does."""
    return _first(lambda share: chance_to_reach(n, bar, share, alpha) >= power, bar, 1.0)


def failing_share(n: int, bar: float, alpha: float = 0.05, rows: int = 1, power: float = 0.8) -> float | None:
    """The largest true share that makes one of `rows` rows NO_GO with this power; None when none does."""
    most = most_right(n, bar, alpha / rows)
    if most < 0:
        return None
    gap = _first(lambda gap: chance_of_at_most(most, n, bar - gap) >= power, 0.0, bar)
    return None if gap is None else round(bar - gap, 6)


def suggest_bar(n: int, share: float, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The highest bar, in whole points, that a model whose true share is `share` passes with this power.

    None when n items can show no bar of a point or more for it.
    """
    for points in range(floor(100 * share), 0, -1):
        if chance_to_reach(n, points / 100, share, alpha) >= power:
            return points / 100
    return None


def independent_discordance(share: float) -> float:
    """The discordance of two models with this share right whose mistakes have nothing in common: high."""
    return 2 * share * (1 - share)


def fewest_right(n: int, bar: float, alpha: float) -> int | None:
    """The fewest right of n that show a share of `bar`."""
    low, high = -1, n + 1  # chance falls with what is right
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if chance_of_at_least(middle, n, bar) <= alpha else (middle, high)
    return high if high <= n else None


def _first(holds: Callable[[float], bool], low: float, high: float) -> float | None:
    """The smallest value above low and below high, in steps of a quarter point, from which it holds."""
    steps = [low + _STEP * i for i in range(1, floor((high - low) / _STEP - 1e-9) + 1)]
    at, end = 0, len(steps)
    while at < end:
        middle = (at + end) // 2
        at, end = (at, middle) if holds(steps[middle]) else (middle + 1, end)
    return round(steps[at], 6) if at < len(steps) else None


def _z(level: float) -> float:
    return NormalDist().inv_cdf(level)
