"""The 95 % interval of a mean of scores: of a share, of a continuous score, of items that come in groups."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from ..core.statistics import wilson


def mean_interval(
    scores: Sequence[float], is_binary: bool, groups: Sequence[str | None] | None = None
) -> tuple[float, float]:
    """(low, high) of the mean of scores in 0..1, both within it; (0, 1) for none.

    A share of single items has Wilson's interval. Continuous scores, and items of which some are of one
    group, have Student's t over the groups, each end with one made-up group that scores worst, or best: so
    scores that are all equal have an interval too.
    """
    if not scores:
        return 0.0, 1.0
    named = [group for group in groups or () if group is not None]
    if is_binary and len(named) == len(set(named)):
        return wilson(sum(score >= 1 for score in scores), len(scores))
    clusters = _clusters(scores, groups)
    low = _mean_and_half(clusters, 0.0)
    high = _mean_and_half(clusters, 1.0)
    return max(0.0, low[0] - low[1]), min(1.0, high[0] + high[1])


def _clusters(scores: Sequence[float], groups: Sequence[str | None] | None) -> list[tuple[float, int]]:
    """(sum, number) of each group's scores; an item of no group is one of its own."""
    found: dict[object, tuple[float, int]] = {}
    for number, score in enumerate(scores):
        group = groups[number] if groups is not None else None
        key = number if group is None else group
        total, n = found.get(key, (0.0, 0))
        found[key] = (total + score, n + 1)
    return list(found.values())


def _mean_and_half(clusters: list[tuple[float, int]], made_up: float) -> tuple[float, float]:
    """The mean with a made-up group of the usual size, and half its interval (linearised ratio)."""
    from scipy.stats import t

    size = max(1, round(sum(n for _, n in clusters) / len(clusters)))
    all_of_them = [*clusters, (made_up * size, size)]
    items, k = sum(n for _, n in all_of_them), len(all_of_them)
    mean = sum(total for total, _ in all_of_them) / items
    spread = sum((total - mean * n) ** 2 for total, n in all_of_them)
    return mean, float(t.ppf(0.975, k - 1)) * sqrt(spread * k / (k - 1)) / items
