"""A figure against its bar: p-values, bounds, unanswered items, and the items that would decide."""

from __future__ import annotations

import random
from statistics import fmean

import pytest
from scipy.stats import binom

from opswright.core.statistics import (
    BarTest,
    Paired,
    mean_at_least,
    mean_drop_at_most,
    share_at_least,
    share_drop_at_most,
)
from opswright.core.statistics.shares import chance_of_at_least, chance_of_at_most


def test_a_share_is_tested_by_its_exact_binomial_tails() -> None:
    test = share_at_least(90, 90, 100, 0.85, 0.05)
    assert test.p_go == pytest.approx(0.0994474, abs=1e-6)
    assert test.p_nogo == pytest.approx(0.9449, abs=1e-3)
    assert (test.low, test.high) == pytest.approx((0.8362771, 0.9448173), abs=1e-4)  # Clopper-Pearson, 90 %


def test_bounds_and_p_values_never_disagree() -> None:
    random.seed(5)
    tests: list[BarTest] = []
    for _ in range(300):
        n, bar = random.randint(1, 120), random.choice([0.03, 0.1, 0.5, 0.9])
        right = sorted(random.randint(0, n) for _ in range(2))
        tests.append(share_at_least(right[0], right[1], n, bar, 0.05))
        scores = [random.random() ** random.choice([0.1, 1, 8]) for _ in range(n)]
        best = [max(score, random.random()) if random.random() < 0.1 else score for score in scores]
        tests.append(mean_at_least(scores, best, bar, 0.05))
    assert sum(one.p_go <= 0.05 for one in tests) > 50 < sum(one.p_nogo <= 0.05 for one in tests)
    for one in tests:
        assert (one.p_go <= 0.05) is (one.low >= one.bar)
        assert (one.p_nogo <= 0.05) is (one.high <= one.bar)
        assert not (one.p_go <= 0.05 and one.p_nogo <= 0.05)
    for _ in range(60):
        n = random.randint(20, 200)
        lost, won = random.randint(0, n // 4), random.randint(0, n // 4)
        drop = share_drop_at_most(Paired(n, lost, won), Paired(n, lost, won), 0.05, 0.05)
        assert drop.high <= drop.bar if drop.p_go <= 0.05 else drop.high >= drop.bar
        assert drop.low >= drop.bar if drop.p_nogo <= 0.05 else drop.low <= drop.bar


def test_what_got_no_answer_is_wrong_for_go_and_right_for_no_go() -> None:
    known = share_at_least(95, 95, 100, 0.85, 0.05)
    doubtful = share_at_least(85, 95, 100, 0.85, 0.05)  # ten of those 95 got no answer
    assert known.p_go <= 0.05 < doubtful.p_go and doubtful.p_nogo == known.p_nogo
    bad = share_at_least(60, 90, 100, 0.85, 0.05)
    assert bad.p_go > 0.05 and bad.p_nogo > 0.05


def test_scores_that_do_not_vary_show_nothing_of_what_is_rare() -> None:
    for n in (30, 53, 58):
        assert mean_at_least([1.0] * n, [1.0] * n, 0.95, 0.05).p_go > 0.05
        assert mean_drop_at_most([0.0] * n, [0.0] * n, 0.05, 0.05).p_go > 0.05
    assert mean_at_least([1.0] * 59, [1.0] * 59, 0.95, 0.05).p_go <= 0.05
    assert mean_drop_at_most([0.0] * 59, [0.0] * 59, 0.05, 0.05).p_go <= 0.05


def test_graded_scores_decide_as_their_mean_is_far_from_the_bar() -> None:
    random.seed(2)
    scores = [min(max(random.gauss(0.7, 0.15), 0), 1) for _ in range(300)]
    assert mean_at_least(scores, scores, 0.6, 0.05).p_go < 1e-6
    assert mean_at_least(scores, scores, 0.8, 0.05).p_nogo < 1e-6
    near = mean_at_least(scores, scores, round(fmean(scores) - 0.005, 3), 0.05)
    assert near.p_go > 0.05 < near.p_nogo


@pytest.mark.parametrize(
    ("right", "n", "bar", "level"), [(93, 100, 0.9, 0.05), (56, 60, 0.9, 0.05), (86, 100, 0.9, 0.01)]
)
def test_the_items_that_would_decide_a_share_are_exact(right: int, n: int, bar: float, level: float) -> None:
    test = share_at_least(right, right, n, bar, 0.05)
    needed, tail = test.needed(level), chance_of_at_least if right / n > bar else chance_of_at_most
    assert test.p_go > 0.05 and test.p_nogo > level and needed is not None

    def chance(items: int) -> float:
        decided = [x for x in range(items + 1) if tail(x, items, bar) <= level]
        return float(binom.pmf(decided, items, right / n).sum())

    assert chance(needed) >= 0.8 > chance(needed - 1)


def test_where_all_is_right_as_many_more_decide_as_the_bar_takes() -> None:
    assert share_at_least(10, 10, 10, 0.95, 0.05).needed(0.05) == 59  # ln(.05) / ln(.95)


def test_a_refusal_among_many_rows_takes_more_items_and_a_pass_does_not() -> None:
    low, high = (share_at_least(right, right, 100, 0.9, 0.05) for right in (85, 93))
    alone, among = low.needed(0.05), low.needed(0.05, rows=10)
    assert alone is not None and among is not None and among > 1.5 * alone
    assert high.needed(0.05, rows=10) == high.needed(0.05)


def test_an_undecided_drop_says_how_many_items_would_decide_or_that_none_would() -> None:
    test = share_drop_at_most(Paired(200, 12, 8), Paired(200, 12, 8), 0.05, 0.05)
    assert test.p_go > 0.05 < test.p_nogo
    assert 600 < (test.needed(0.05) or 0) <= 2000
    hopeless = share_drop_at_most(Paired(200, 15, 5), Paired(200, 15, 5), 0.05, 0.05)
    assert hopeless.got == 0.05 and hopeless.needed(0.05) is None


@pytest.mark.parametrize(("drop", "n"), [(0.01, 120), (0.02, 200), (0.12, 100)])
def test_as_many_items_as_are_said_decide_a_mean_four_times_in_five(drop: float, n: int) -> None:
    draw = random.Random(3)

    def drops(items: int) -> list[float]:
        return [max(-1.0, min(1.0, draw.gauss(drop, 0.3))) for _ in range(items)]

    sample = drops(n)
    exact = [value - fmean(sample) + drop for value in sample]  # so that its figure is the truth
    needed = mean_drop_at_most(exact, exact, 0.05, 0.05).needed(0.05)
    assert needed is not None
    decided = 0
    for _ in range(300):
        test = mean_drop_at_most(again := drops(needed), again, 0.05, 0.05)
        decided += (test.p_go if drop < 0.05 else test.p_nogo) <= 0.05
    assert 0.7 < decided / 300 < 0.9


def test_where_half_of_the_items_got_no_answer_more_items_are_not_said_to_decide() -> None:
    scores, best = [1.0] * 50 + [0.0] * 50, [1.0] * 100
    for test in (
        share_at_least(50, 100, 100, 0.9, 0.05),
        mean_at_least(scores, best, 0.9, 0.05),
        mean_drop_at_most([1.0] * 50 + [0.0] * 50, [0.0] * 100, 0.05, 0.05),
        share_drop_at_most(Paired(100, 50, 0), Paired(100, 0, 0), 0.05, 0.05),
    ):
        assert test.p_go > 0.05 < test.p_nogo
        assert test.turns_on_answers and test.needed(0.05) is None
    clear = share_at_least(57, 60, 60, 0.9, 0.05)  # whatever the three without an answer are
    assert not clear.turns_on_answers and clear.needed(0.05) is not None


def test_one_observation_decides_nothing_and_breaks_nothing() -> None:
    for test in (
        share_at_least(1, 1, 1, 0.9, 0.05),
        mean_at_least([0.4], [0.4], 0.9, 0.05),
        mean_drop_at_most([0.0], [0.0], 0.05, 0.05),
        share_drop_at_most(Paired(1, 0, 0), Paired(1, 0, 0), 0.05, 0.05),
    ):
        assert test.p_go > 0.05 and 0 <= test.p_nogo <= 1 and test.low <= test.got <= test.high
