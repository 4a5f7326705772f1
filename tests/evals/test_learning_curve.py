"""Learning curves: what they forecast holds on simulated learners, and what they cannot tell they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from opswright.core.errors import AskError
from opswright.core.statistics.saturation import fit_saturating, forecast
from opswright.evals.learning_curve import LearningCurve, Training, learning_curve, sizes_of
from opswright.evals.runner import EvalResult, SampleResult

SIZES = (100, 250, 500, 1000)


def measured(scores: Sequence[float], suite: str = "s", group_of: int = 1, first: int = 0) -> EvalResult:
    items = tuple(
        SampleResult(f"i{n + first}", "t", "e", "g", {"exact_match": score}, (), group=f"g{n // group_of}")
        for n, score in enumerate(scores)
    )
    return EvalResult("m", suite, "d" * 64, (), items, scorers={"exact_match": True})


class Learner:
    """Answers n items right with a probability that follows a law of the rows; the same items are hard."""

    def __init__(self, law: Callable[[float], float], seed: int, noise: float = 0.01, n: int = 300) -> None:
        self.rng = np.random.default_rng(seed)
        self.law, self.noise, self.hard = law, noise, self.rng.normal(size=n)

    def scores(self, rows: float) -> list[float]:
        from statistics import NormalDist

        share = min(0.999, max(0.001, self.law(rows) + self.rng.normal() * self.noise))
        level = NormalDist().inv_cdf(share) * 2**0.5
        found: list[float] = (
            ((level - self.hard + self.rng.normal(size=len(self.hard))) > 0).astype(float).tolist()
        )
        return found

    def curve(self, sizes: Sequence[int] = SIZES, seeds: int = 2) -> LearningCurve:
        return learning_curve(
            [
                Training(n, seed, n, f"r{n}-{seed}", measured(self.scores(n)))
                for n in sizes
                for seed in range(seeds)
            ]
        )


def power(ceiling: float, scale: float, exponent: float) -> Callable[[float], float]:
    return lambda rows: ceiling - scale * rows**-exponent


def test_a_law_without_noise_is_found_again() -> None:
    law = fit_saturating(SIZES, [power(0.9, 3, 0.5)(n) for n in SIZES])
    assert law.at(4000) == pytest.approx(0.9 - 3 * 4000**-0.5, abs=0.005)
    assert law.noise < 0.002 and law.freedom == 1


@pytest.mark.parametrize("law", [power(0.95, 3, 0.5), power(0.9, 0.9, 0.2), power(0.8, 0, 1)])
def test_the_interval_of_twice_the_rows_holds_the_truth_as_often_as_it_says(
    law: Callable[[float], float],
) -> None:
    held = 0
    for seed in range(60):
        learner = Learner(law, seed)
        scores = [learner.scores(n) for n in (*SIZES, *SIZES)]
        found = forecast((*SIZES, *SIZES), scores, range(300), [2000], draws=200, seed=seed)[0]
        held += found.gain_low <= law(2000) - law(1000) <= found.gain_high
    assert held >= 54  # 95 % of 60 is 57; fewer than 54 has a chance of 3 % for an interval that is right


def test_a_curve_says_what_twice_the_rows_would_bring() -> None:
    curve = Learner(power(0.95, 3, 0.5), seed=3).curve(seeds=3)
    assert not curve.unclear and len(curve.points) == 12
    assert "Twice the rows (2,000) would bring +" in curve.in_words
    twice = curve.forecasts[0]
    assert twice.x == 2000 and twice.gain_low <= twice.gain <= twice.gain_high <= 0.1


def test_three_sizes_are_shown_and_nothing_is_forecast() -> None:
    curve = Learner(power(0.95, 3, 0.5), seed=3).curve(SIZES[:3])
    assert len(curve.points) == 6 and not curve.forecasts
    assert "cannot be told: 3 different numbers of rows" in curve.in_words


def test_a_learner_that_leaps_at_the_end_follows_no_law_and_it_is_said() -> None:
    curve = Learner(lambda rows: 0.2 if rows < 1000 else 0.9, seed=4).curve()
    assert not curve.forecasts
    assert "the smaller trainings foretold" in curve.unclear


def test_trainings_that_scatter_wildly_tell_nothing() -> None:
    curve = Learner(power(0.8, 3, 0.5), seed=5, noise=0.15).curve(seeds=1)
    assert "twice the rows could bring anything from" in curve.unclear


def test_items_of_one_group_count_as_one_observation() -> None:
    learner = Learner(power(0.95, 3, 0.5), seed=6)
    rows = (*SIZES, *SIZES)
    each = np.array([learner.scores(n) for n in rows])
    tenfold = np.repeat(each[:, :30], 10, axis=1)  # ten copies of thirty items
    alone = forecast(rows, each[:, :30].tolist(), range(30), [2000])[0]
    grouped = forecast(rows, tenfold.tolist(), np.repeat(np.arange(30), 10).tolist(), [2000])[0]
    counted_apart = forecast(rows, tenfold.tolist(), range(300), [2000])[0]
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert counted_apart.high - counted_apart.low < 0.9 * (grouped.high - grouped.low)


def test_numbers_of_rows_that_nearly_agree_are_one_size() -> None:
    assert sizes_of([108, 109, 269, 269, 280, 1076]) == [109, 280, 1076]
    learner = Learner(power(0.95, 3, 0.5), seed=3)
    sizes = (100, 101, 250, 251, 1000, 1001)  # three sizes, each twice
    assert "3 different numbers of rows" in learner.curve(sizes, seeds=1).unclear


def test_what_cannot_be_one_curve_is_refused() -> None:
    def one(rows: int, seed: int = 0, **more: object) -> Training:
        return Training(rows, seed, 5, "r", measured([1, 0, 1], **more))  # type: ignore[arg-type]

    with pytest.raises(AskError, match="at least 2 trainings"):
        learning_curve([one(10)])
    with pytest.raises(AskError, match="different suites"):
        learning_curve([one(10), one(20, suite="other")])
    with pytest.raises(AskError, match="different items"):
        learning_curve([one(10), one(20, first=1)])
    with pytest.raises(AskError, match="10 rows and seed 0"):
        learning_curve([one(10), one(10)])
