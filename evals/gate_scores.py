"""The scores a gate judges: what was measured, and what it would be at worst and at best.

An item without an answer or a score counts as 0 at worst and as 1 at best: then neither GO nor NO_GO can rest
on what was not measured. Items of one group (turns of a talk, paraphrases) are one observation, their mean;
so are items without a group that ask the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from statistics import fmean
from typing import NamedTuple

from ..core.errors import AskError, did_you_mean
from ..core.statistics import (
    BarTest,
    Paired,
    mean_at_least,
    mean_drop_at_most,
    share_at_least,
    share_drop_at_most,
)
from .runner import EvalResult, SampleResult

Pairs = Sequence[tuple[SampleResult, SampleResult]]  # (before, now), each item once


def score_of(item: SampleResult, metric: str) -> float | None:
    """An item's score, 0 to 1; None when it has none. AskError for a score that is no share."""
    score = None if item.error is not None else item.score(metric)
    if score is None or not isfinite(score):
        return None
    if not 0 <= score <= 1:
        raise AskError(
            f"item '{item.id}' has {metric} {score:g}: a gate judges scores from 0 to 1. Scale the scorer."
        )
    return float(score)


def is_binary(metric: str, *measured: Iterable[SampleResult]) -> bool:
    """Whether a metric says only right or wrong of these items."""
    return all(score_of(item, metric) in (None, 0.0, 1.0) for items in measured for item in items)


def check_items(measured: EvalResult, metric: str) -> None:
    """AskError for a metric that the report does not have, and for an item that would count twice."""
    if metric not in measured.scorers:
        known = ", ".join(measured.scorers)
        raise AskError(
            f"unknown metric '{metric}' (the report on {measured.suite} has: {known})."
            + did_you_mean(metric, measured.scorers)
        )
    twice = [name for name, n in Counter(item.id for item in measured.items).items() if n > 1]
    if twice:
        raise AskError(
            f"the report of {measured.model} on {measured.suite} holds {len(twice)} items more than once "
            f"(first: '{twice[0]}'). Evaluate again."
        )


class PairedDifference(NamedTuple):
    """Before minus now, its interval, and the two-sided p-value of no difference."""

    mean: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class ShareOrMean:
    """Scores of one row, a value for each item or group: at worst and at best, alike where all answered.

    items: how many items are behind them; binary: whether each value is 0 or 1 (a drop: -1, 0 or 1).
    repeated: items that ask what an earlier one asked. per_item: the mean at worst with every item counted
    alike, where items are in groups.
    """

    worst: tuple[float, ...]
    best: tuple[float, ...]
    items: int
    binary: bool
    repeated: int = 0
    per_item: float | None = None

    @property
    def n(self) -> int:
        """Observations: items, or groups of items."""
        return len(self.worst)

    @property
    def counted(self) -> str:
        """How many observations, in words."""
        if self.n == self.items:
            return f"{self.n:,} items"
        said = f"{self.n:,} groups of {self.items:,} items"
        return said + (f" ({self.repeated:,} ask the same as another)" if self.repeated else "")

    def at_least(self, bar: float, alpha: float) -> BarTest:
        """The scores against the least they must be on average."""
        if self.binary:
            return share_at_least(round(sum(self.worst)), round(sum(self.best)), self.n, bar, alpha)
        return mean_at_least(self.worst, self.best, bar, alpha)

    def difference(self, confidence: float = 0.95) -> PairedDifference:
        """The drops' mean with its two-sided interval, and the p-value of no difference."""
        if self.binary:
            both = _counts(self.worst)
            return PairedDifference(both.drop, *both.drop_interval(confidence), both.p_value)
        test = mean_drop_at_most(self.worst, self.worst, 0.0, (1 - confidence) / 2)
        return PairedDifference(test.got, test.low, test.high, min(1.0, 2 * min(test.p_go, test.p_nogo)))

    def drop_at_most(self, margin: float, alpha: float) -> BarTest:
        """The drops against the largest they may be on average; a margin of 0 asks for a rise."""
        if self.binary:
            return share_drop_at_most(_counts(self.worst), _counts(self.best), margin, alpha)
        return mean_drop_at_most(self.worst, self.best, margin, alpha)


def scores_on(items: Sequence[SampleResult], metric: str) -> ShareOrMean:
    """One model's scores."""
    worst = [_or(score_of(item, metric), 0.0) for item in items]
    best = [_or(score_of(item, metric), 1.0) for item in items]
    return _observed(items, worst, best, is_binary(metric, items))


def drops_on(pairs: Pairs, metric: str) -> ShareOrMean:
    """How much two models' scores fell, before minus now."""
    known = [(score_of(before, metric), score_of(now, metric)) for before, now in pairs]
    worst = [_or(before, 1.0) - _or(now, 0.0) for before, now in known]
    best = [_or(before, 0.0) - _or(now, 1.0) for before, now in known]
    binary = is_binary(metric, *zip(*pairs, strict=True))
    return _observed([now for _, now in pairs], worst, best, binary)


def without(measured: EvalResult, leaked: frozenset[str]) -> EvalResult:
    """The report without some items, as they are and altered."""

    def kept(items: Sequence[SampleResult]) -> tuple[SampleResult, ...]:
        return tuple(item for item in items if item.id not in leaked)

    variants = {name: kept(items) for name, items in measured.variants.items()}
    return replace(measured, items=kept(measured.items), variants=variants, leaked=0)


def variant_pairs(measured: EvalResult, alteration: str) -> Pairs:
    """Each item as it is, and as an alteration changed it."""
    plain = {item.id: item for item in measured.items}
    return [(plain[item.id], item) for item in measured.variants.get(alteration, ()) if item.id in plain]


def common_pairs(before: EvalResult, now: EvalResult, within: str | None) -> Pairs:
    """The items that both models were asked, matched by id; the slice is the second one's."""
    asked = {item.id: item for item in before.items}
    return [(asked[item.id], item) for item in now.within(within) if item.id in asked]


def _observed(
    items: Sequence[SampleResult], worst: Sequence[float], best: Sequence[float], binary: bool
) -> ShareOrMean:
    groups: dict[tuple[str, str], list[int]] = {}
    for place, item in enumerate(items):
        key = ("asked", " ".join(item.text.split())) if item.group is None else ("group", item.group)
        groups.setdefault(key, []).append(place)
    if len(groups) == len(items):
        return ShareOrMean(tuple(worst), tuple(best), len(items), binary)
    worst_means, best_means = (
        tuple(fmean(values[place] for place in places) for places in groups.values())
        for values in (worst, best)
    )
    repeated = sum(len(places) - 1 for (kind, _), places in groups.items() if kind == "asked")
    alone = all(item.group is None for item in items)  # then a mean is mostly of the same answers
    binary = binary and alone and {*worst_means, *best_means} <= {-1.0, 0.0, 1.0}
    return ShareOrMean(worst_means, best_means, len(items), binary, repeated, fmean(worst))


def _counts(drops: Sequence[float]) -> Paired:
    return Paired(len(drops), sum(drop > 0 for drop in drops), sum(drop < 0 for drop in drops))


def _or(score: float | None, instead: float) -> float:
    return instead if score is None else score
