from __future__ import annotations

import random

import pytest

from opswright.core.statistics import wilson
from opswright.evals.intervals import mean_interval


def test_a_share_of_single_items_has_wilsons_interval() -> None:
    assert mean_interval([1.0] * 8 + [0.0] * 2, True) == wilson(8, 10)
    assert mean_interval([1.0] * 8 + [0.0] * 2, True, [None] * 10) == wilson(8, 10)
    assert mean_interval([1.0] * 8 + [0.0] * 2, True, [str(i) for i in range(10)]) == wilson(8, 10)
    assert mean_interval([], False) == (0.0, 1.0)


def test_scores_that_are_all_equal_still_have_an_interval() -> None:
    low, high = mean_interval([1.0] * 20, False)
    assert low < 1.0 and high == 1.0
    low, high = mean_interval([0.5], False)
    assert (low, high) == (0.0, 1.0)  # one item says nothing


def test_items_of_one_group_count_as_one() -> None:
    alone = mean_interval([1.0, 0.0] * 50, True)
    groups = [str(i // 20) for i in range(100)]
    scores = [float(int(group) % 2) for group in groups]
    together = mean_interval(scores, True, groups)
    assert together[1] - together[0] > 3 * (alone[1] - alone[0])


@pytest.mark.parametrize("grouped", [False, True])
def test_the_interval_holds_the_true_mean_about_95_times_in_100(grouped: bool) -> None:
    draw = random.Random(5)
    held = 0
    for _ in range(400):
        levels = [draw.betavariate(2, 3) for _ in range(30)]
        scores = [min(1.0, max(0.0, level + draw.uniform(-0.1, 0.1))) for level in levels for _ in range(4)]
        groups = [str(i // 4) for i in range(120)] if grouped else None
        low, high = mean_interval(scores if grouped else scores[::4], False, groups)
        held += low <= 0.4 <= high
    assert 0.93 <= held / 400 <= 1.0
