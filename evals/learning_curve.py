"""A learning curve: one suite's score against the rows trained on, and what more rows would bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..core.errors import AskError
from ..core.statistics.saturation import PARAMETERS, Forecast, SaturatingLaw, fit_saturating, forecast
from .intervals import mean_interval
from .runner import EvalResult

FEWEST_SIZES = PARAMETERS + 1
WIDEST_GAIN = 0.1
"""The interval of what twice the rows would bring, above which nothing is said of it."""
_TIMES = (2.0, 4.0)
_ALIKE = 1.05  # numbers of rows nearer than that are one size: whole groups seldom add up exactly


@dataclass(frozen=True)
class TrainingPoint:
    """One training on the curve: rows, seed, steps, and its score with the 95 % interval of the items."""

    rows: int
    seed: int
    steps: int
    report: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """The points by rows, the law through them, its forecasts; `unclear` says why nothing is forecast."""

    suite: str
    metric: str
    items: int
    points: tuple[TrainingPoint, ...]
    law: SaturatingLaw | None
    forecasts: tuple[Forecast, ...]
    unclear: str

    @property
    def in_words(self) -> str:
        """What more data would bring, in one sentence."""
        if self.unclear:
            return f"What more data would bring cannot be told: {self.unclear}."
        twice, most = self.forecasts[0], self.points[-1].rows
        gain = f"{100 * twice.gain:+.1f} points ({100 * twice.gain_low:+.1f} to {100 * twice.gain_high:+.1f})"
        return (
            f"Twice the rows ({2 * most:,}) would bring {gain} of {self.metric}, to {twice.value:.1%} "
            f"({twice.low:.1%} to {twice.high:.1%}), if the new rows are like these and the curve goes on as "
            "it went."
        )

    def document(self) -> dict[str, Any]:
        """The curve as plain JSON."""
        return {
            "suite": self.suite,
            "metric": self.metric,
            "items": self.items,
            "points": [asdict(point) for point in self.points],
            "law": asdict(self.law) if self.law else None,
            "forecasts": [one._asdict() for one in self.forecasts],
            "unclear": self.unclear,
            "in_words": self.in_words,
        }


@dataclass(frozen=True)
class Training:
    """What a point is made of: how a model was trained, and what a suite measured of it."""

    rows: int
    seed: int
    steps: int
    report: str
    measured: EvalResult


def learning_curve(trainings: Sequence[Training]) -> LearningCurve:
    """The curve of trainings that differ in rows and seed alone, measured on the same items.

    Raises AskError for fewer than two, other suites or items, and two of the same rows and seed.
    """
    ordered = sorted(trainings, key=lambda one: (one.rows, one.seed))
    _check_alike(ordered)
    metric = ordered[0].measured.metric
    ids, groups, scores = _scores(ordered, metric)
    is_binary = ordered[0].measured.scorers[metric]
    points = []
    for one, row in zip(ordered, scores, strict=True):
        low, high = mean_interval(row, is_binary, groups)
        value = sum(row) / len(row)
        points.append(TrainingPoint(one.rows, one.seed, one.steps, one.report, value, low, high))
    rows = [one.rows for one in ordered]
    law = fit_saturating(rows, [point.value for point in points]) if len(rows) > PARAMETERS else None
    clusters = _clusters(groups)
    unclear, forecasts = _too_little(rows), list[Forecast]()
    if not unclear:
        forecasts = forecast(rows, scores, clusters, [times * rows[-1] for times in _TIMES])
        unclear = _missed_the_last(rows, scores, clusters) or _too_wide(forecasts[0])
    return LearningCurve(
        suite=ordered[0].measured.suite,
        metric=metric,
        items=len(ids),
        points=tuple(points),
        law=law,
        forecasts=() if unclear else tuple(forecasts),
        unclear=unclear,
    )


def _check_alike(trainings: Sequence[Training]) -> None:
    if len(trainings) < 2:
        raise AskError(f"a learning curve needs at least 2 trainings, found {len(trainings)}.")
    suites = {(one.measured.suite, one.measured.suite_digest, one.measured.metric) for one in trainings}
    if len(suites) > 1:
        names = ", ".join(sorted({f"{name} by {metric}" for name, _, metric in suites}))
        raise AskError(f"the reports measure different suites, or other versions of one: {names}.")
    seen: set[tuple[int, int]] = set()
    for one in trainings:
        if (one.rows, one.seed) in seen:
            raise AskError(f"two reports are of {one.rows} rows and seed {one.seed}. Name each once.")
        seen.add((one.rows, one.seed))


def _scores(
    trainings: Sequence[Training], metric: str
) -> tuple[list[str], list[str | None], list[list[float]]]:
    """Ids and groups of the items that every report has scored, and the scores of each training on them."""
    asked = [{item.id for item in one.measured.items} for one in trainings]
    if any(ids != asked[0] for ids in asked):
        raise AskError("the reports asked different items of the suite. Evaluate each with the same limit.")
    scored = [
        {item.id: item.scores[metric] for item in one.measured.items if metric in item.scores}
        for one in trainings
    ]
    common = set.intersection(*(set(one) for one in scored))
    if not common:
        raise AskError(f"no item has a score by {metric} in every report.")
    items = sorted((item for item in trainings[0].measured.items if item.id in common), key=lambda i: i.id)
    ids = [item.id for item in items]
    return ids, [item.group for item in items], [[one[name] for name in ids] for one in scored]


def _clusters(groups: Sequence[str | None]) -> list[int]:
    """A number from 0 for each item; those of one group have the same."""
    numbers: dict[object, int] = {}
    return [
        numbers.setdefault(number if group is None else group, len(numbers))
        for number, group in enumerate(groups)
    ]


def sizes_of(rows: Sequence[int]) -> list[int]:
    """The different sizes among ascending numbers of rows, each by its largest; nearly equal ones are one."""
    sizes: list[int] = []
    for n in rows:
        if sizes and n <= sizes[-1] * _ALIKE:
            sizes[-1] = n
        else:
            sizes.append(n)
    return sizes


def _too_little(rows: Sequence[int]) -> str:
    sizes = len(sizes_of(rows))
    if sizes < FEWEST_SIZES:
        return f"{sizes} different numbers of rows, and a curve needs at least {FEWEST_SIZES}"
    return ""


def _missed_the_last(rows: Sequence[int], scores: Sequence[Sequence[float]], clusters: Sequence[int]) -> str:
    """Why the law is not believed: from the smaller trainings it would not have foretold the largest."""
    smaller = [number for number, n in enumerate(rows) if n * _ALIKE < rows[-1]]
    largest = [number for number, n in enumerate(rows) if n * _ALIKE >= rows[-1]]
    if len(smaller) <= PARAMETERS:
        return ""
    known = forecast([rows[n] for n in smaller], [scores[n] for n in smaller], clusters, [rows[-1]])[0]
    found = sum(sum(scores[n]) / len(scores[n]) for n in largest) / len(largest)
    if known.low <= found <= known.high:
        return ""
    return (
        f"the smaller trainings foretold {known.value:.1%} ({known.low:.1%} to {known.high:.1%}) for the "
        f"largest, and it has {found:.1%}"
    )


def _too_wide(twice: Forecast) -> str:
    if twice.gain_high - twice.gain_low <= WIDEST_GAIN:
        return ""
    return (
        f"twice the rows could bring anything from {100 * twice.gain_low:+.1f} to "
        f"{100 * twice.gain_high:+.1f} points; more seeds, sizes or items would narrow that"
    )
