"""A measured figure against its bar: two one-sided p-values, and the interval that inverts the same test.

`p_go` is small when the figure is shown to be on the good side of its bar, `p_nogo` when it is shown to be on
the bad side. What could not be measured counts as wrong for the first and as right for the second, so both
hold whatever it would have been.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from .drop_test import DropTest
from .more_items import Projection, of_drop, of_mean, of_share
from .paired import Paired
from .shares import chance_of_at_least, chance_of_at_most, lower_bound, upper_bound


@dataclass(frozen=True)
class BarTest:
    """What n items say of a bar. `low` and `high` are one-sided bounds at alpha each.

    projection: what more such items would decide; None where none would, as the figure is on the bar.
    turns_on_answers: whether what got no answer could put the figure on either side of the bar.
    """

    got: float
    bar: float
    n: int
    p_go: float
    p_nogo: float
    low: float
    high: float
    projection: Projection | None = None
    turns_on_answers: bool = False

    def needed(self, alpha: float, rows: int = 1) -> int | None:
        """Items in all with which the row would probably be decided (80 %), were its figures to hold.

        A NO_GO is one of `rows` rows that share alpha. None: over ten times as many, or no number of items.
        """
        if self.projection is None:
            return None
        return self.projection.needed(self.n, alpha if self.projection.is_go else alpha / rows)


def share_at_least(right: int, possibly: int, n: int, bar: float, alpha: float) -> BarTest:
    """A share of right items against the least it must be: exact binomial, Clopper-Pearson's bounds.

    right: items that are right; possibly: those that are or may be, as they got no answer. n at least 1.
    """
    return BarTest(
        got=right / n,
        bar=bar,
        n=n,
        p_go=chance_of_at_least(right, n, bar),
        p_nogo=chance_of_at_most(possibly, n, bar),
        low=lower_bound(right, n, alpha),
        high=upper_bound(possibly, n, alpha),
        projection=of_share(right, possibly, n, bar),
        turns_on_answers=right <= bar * n <= possibly and right < possibly,
    )


def share_drop_at_most(worst: Paired, best: Paired, margin: float, alpha: float) -> BarTest:
    """A paired drop of right answers against the largest it may be: the exact test of `DropTest`.

    worst, best: the counts with what got no answer held against the new model, and for it.
    """
    n = worst.n
    test = DropTest(n, margin)
    p_go, p_nogo = test.p_go(worst.lost, worst.won), test.p_nogo(best.lost, best.won)
    low = DropTest.lower_bound(n, best.lost, best.won, alpha)
    high = DropTest.upper_bound(n, worst.lost, worst.won, alpha)
    return BarTest(
        got=worst.drop,
        bar=margin,
        n=n,
        p_go=p_go,
        p_nogo=p_nogo,
        low=_beside(margin, low, p_nogo <= alpha, above=True),
        high=_beside(margin, high, p_go <= alpha, above=False),
        projection=of_drop((worst.lost, worst.won), (best.lost, best.won), n, margin),
        turns_on_answers=best.drop <= margin <= worst.drop and best.drop < worst.drop,
    )


def mean_at_least(scores: Sequence[float], possibly: Sequence[float], bar: float, alpha: float) -> BarTest:
    """A mean of scores in [0, 1] against the least it must be: Student's t with one made-up worst item.

    scores: what got no answer as 0; possibly: as 1. One value for each item, or for each group's mean.
    """
    got, best = sum(scores) / len(scores), sum(possibly) / len(possibly)
    return BarTest(
        got=got,
        bar=bar,
        n=len(scores),
        p_go=_p_below([-score for score in scores], -bar, 0.0),
        p_nogo=_p_below(possibly, bar, 1.0),
        low=-_bound_above([-score for score in scores], 0.0, alpha),
        high=_bound_above(possibly, 1.0, alpha),
        projection=of_mean([-score for score in scores], [-score for score in possibly], -bar, (0.0, -1.0)),
        turns_on_answers=got <= bar <= best and got < best,
    )


def mean_drop_at_most(
    drops: Sequence[float], at_best: Sequence[float], margin: float, alpha: float
) -> BarTest:
    """A mean drop of scores against the largest it may be: Student's t with one made-up worst item.

    drops: before minus now, in [-1, 1], of each item or each group's mean, with what got no answer held
    against the new model; at_best: for it. For p_go a total loss is added to them, for p_nogo a total win.
    No source: its levels are warranted by simulation (benchmarks/gate_calibration.py).
    """
    got, best = sum(drops) / len(drops), sum(at_best) / len(at_best)
    return BarTest(
        got=got,
        bar=margin,
        n=len(drops),
        p_go=_p_below(drops, margin, 1.0),
        p_nogo=_p_below([-drop for drop in at_best], -margin, 1.0),
        low=-_bound_above([-drop for drop in at_best], 1.0, alpha),
        high=_bound_above(drops, 1.0, alpha),
        projection=of_mean(drops, at_best, margin, (1.0, -1.0)),
        turns_on_answers=best <= margin <= got and best < got,
    )


def _p_below(values: Sequence[float], bar: float, worst: float) -> float:
    """Against "the mean is bar or more": Student's t once a made-up item of the largest value is added.

    Never less than the chance to have missed every item of that value, were there just enough of them to
    bring the mean to the bar: values that hardly vary show nothing of what is rare.
    """
    from scipy.special import stdtr

    n = len(values)
    mean, spread = _moments(values, worst)
    own = sum(values) / n
    if own >= bar or bar >= worst:
        missed = 1.0 if own >= bar else 0.0
    else:
        missed = float(((worst - bar) / (worst - own)) ** n)
    return max(float(stdtr(n, (mean - bar) / (spread / sqrt(n + 1)))), missed)


def _bound_above(values: Sequence[float], worst: float, alpha: float) -> float:
    """The smallest bar with `_p_below` at most alpha; the largest value when there is none."""
    from scipy.special import stdtrit

    n = len(values)
    mean, spread = _moments(values, worst)
    by_t = mean + float(stdtrit(n, 1 - alpha)) * spread / sqrt(n + 1)
    by_chance = worst - (worst - sum(values) / n) * float(alpha ** (1 / n))
    return min(max(by_t, by_chance), worst)


def _moments(values: Sequence[float], made_up: float) -> tuple[float, float]:
    """Mean and standard deviation of the values and one made-up one; the deviation is never 0."""
    n = len(values) + 1
    mean = (sum(values) + made_up) / n
    squares = sum((value - mean) ** 2 for value in values) + (made_up - mean) ** 2
    return mean, max(sqrt(squares / (n - 1)), 1e-6)


def _beside(margin: float, bound: float, shown: bool, above: bool) -> float:
    """The bound on the side of the margin that its test says: a bound is found to four digits only."""
    return max(bound, margin) if shown == above else min(bound, margin)
