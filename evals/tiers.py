"""Ranks that hold: which models are shown to differ, the tiers that leaves, and the ranks each may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from statistics import fmean
from typing import NamedTuple

from ..core.statistics import holm_rejections, mcnemar_exact, mean_drop_at_most

Scores = Mapping[str, float]  # item id -> score, 0 to 1


@dataclass(frozen=True)
class RankedModel:
    """A model among others on one suite. Its true rank is from best_rank to worst_rank.

    tiers: numbers from 1, best first, of the runs of models it is in, none of which is shown to differ from
    another; one that stands between two runs is in both.
    """

    name: str
    value: float
    n: int
    tiers: tuple[int, ...]
    best_rank: int
    worst_rank: int

    @property
    def tier_in_words(self) -> str:
        """Its tiers, such as 1 or 1-2."""
        first, last = self.tiers[0], self.tiers[-1]
        return str(first) if first == last else f"{first}-{last}"

    @property
    def ranks_in_words(self) -> str:
        """The ranks it may have, such as 3 or 2-5."""
        one = self.best_rank == self.worst_rank
        return str(self.best_rank) if one else f"{self.best_rank}-{self.worst_rank}"


def rank(scores: Mapping[str, Scores], alpha: float = 0.05) -> list[RankedModel]:
    """The models by falling mean score, with tiers and rank ranges.

    Every pair is compared on the items that both have: by the exact McNemar test where scores are right or
    wrong, else by the t-test of their differences; Holm corrects over all pairs. P(any difference claimed
    between equal models) <= alpha. Models without items are left out.
    Source: Al Mohamad, Goeman and van Zwet, Biometrics 78 (2022) 1430-1441.
    """
    means = {name: fmean(own.values()) for name, own in scores.items() if own}
    order = sorted(means, key=lambda name: (-means[name], name))
    better = _shown_better(order, scores, alpha)
    runs = _runs(order, better)
    return [
        RankedModel(
            name=name,
            value=means[name],
            n=len(scores[name]),
            tiers=tuple(i for i, (first, last) in enumerate(runs, 1) if first <= place <= last),
            best_rank=1 + sum((other, name) in better for other in order),
            worst_rank=len(order) - sum((name, other) in better for other in order),
        )
        for place, name in enumerate(order)
    ]


def _shown_better(order: Sequence[str], scores: Mapping[str, Scores], alpha: float) -> set[tuple[str, str]]:
    """The pairs (better, worse) that are shown to differ."""
    pairs = list(combinations(order, 2))
    places = {item: place for place, item in enumerate(dict.fromkeys(chain(*scores.values())))}
    masks = {name: _Mask.of(scores[name], places) for name in order}
    compared = [_compare(scores[a], scores[b], masks[a], masks[b]) for a, b in pairs]
    rejected = holm_rejections([p for p, _ in compared], alpha)
    return {
        (a, b) if difference > 0 else (b, a)
        for (a, b), (_, difference), differs in zip(pairs, compared, rejected, strict=True)
        if differs and difference != 0
    }


class _Mask(NamedTuple):
    """Items as bits of whole numbers, so that thousands of pairs of models are compared at once."""

    asked: int
    right: int
    is_binary: bool

    @classmethod
    def of(cls, scores: Scores, places: Mapping[str, int]) -> _Mask:
        asked = sum(1 << places[item] for item in scores)
        right = sum(1 << places[item] for item, score in scores.items() if score >= 1)
        return cls(asked, right, all(score in (0.0, 1.0) for score in scores.values()))


def _compare(a: Scores, b: Scores, of_a: _Mask, of_b: _Mask) -> tuple[float, float]:
    """Two-sided p-value of no difference, and a minus b, on common items; (1, 0) without any."""
    if not (common := of_a.asked & of_b.asked):
        return 1.0, 0.0
    if of_a.is_binary and of_b.is_binary:
        won = (of_a.right & ~of_b.right & common).bit_count()
        lost = (of_b.right & ~of_a.right & common).bit_count()
        return mcnemar_exact(lost, won), (won - lost) / common.bit_count()
    drops = [a[item] - b[item] for item in a.keys() & b.keys()]
    difference = fmean(drops)
    test = mean_drop_at_most(drops, drops, 0.0, 0.05)
    return min(1.0, 2 * min(test.p_go, test.p_nogo)), difference


def _runs(order: Sequence[str], better: set[tuple[str, str]]) -> list[tuple[int, int]]:
    """The longest runs of places, first and last, in which no model is shown better than another."""
    runs: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = first
        while last + 1 < len(order) and all(
            (order[i], order[last + 1]) not in better and (order[last + 1], order[i]) not in better
            for i in range(first, last + 1)
        ):
            last += 1
        if not runs or last > runs[-1][1]:
            runs.append((first, last))
    return runs
