"""A figure against its bar: p-values, bounds, unanswered items, and the items that would decide."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from opswright.core.statistics import (
    BarTest,
    Paired,
    mean_at_least,
    mean_drop_at_most,
    share_at_least,
    share_drop_at_most,
)


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


def test_an_undecided_figure_says_how_many_items_would_decide_or_that_none_would() -> None:
    test = share_drop_at_most(Paired(200, 12, 8), Paired(200, 12, 8), 0.05, 0.05)
    assert test.p_go > 0.05 < test.p_nogo
    assert test.needed is not None and 600 < test.needed <= 2000
    hopeless = share_drop_at_most(Paired(200, 15, 5), Paired(200, 15, 5), 0.05, 0.05)
    assert hopeless.got == 0.05 and hopeless.needed is None


def test_one_observation_decides_nothing_and_breaks_nothing() -> None:
    for test in (
        share_at_least(1, 1, 1, 0.9, 0.05),
        mean_at_least([0.4], [0.4], 0.9, 0.05),
        mean_drop_at_most([0.0], [0.0], 0.05, 0.05),
        share_drop_at_most(Paired(1, 0, 0), Paired(1, 0, 0), 0.05, 0.05),
    ):
        assert test.p_go > 0.05 and 0 <= test.p_nogo <= 1 and test.low <= test.got <= test.high
