"""What a set can show: the figures of the planning rules, and their agreement with the tests themselves."""

from __future__ import annotations

import pytest

from opswright.core.statistics import DropTest, share_at_least
from opswright.core.statistics.power import (
    chance_to_pass,
    chance_to_reach,
    failing_share,
    fewest_right,
    least_items_for_bar,
    least_items_for_margin,
    passing_share,
    smallest_margin,
    smallest_visible_drop,
    suggest_bar,
)


def test_the_least_items_are_those_with_which_all_right_is_enough() -> None:
    assert [least_items_for_bar(bar) for bar in (0.5, 0.8, 0.9, 0.95, 0.99)] == [5, 14, 29, 59, 299]
    assert [least_items_for_margin(m) for m in (0.1, 0.05, 0.03, 0.01)] == [29, 59, 99, 299]
    for bar in (0.5, 0.8, 0.9, 0.95):
        n = least_items_for_bar(bar)
        assert n is not None
        assert share_at_least(n, n, n, bar, 0.05).p_go <= 0.05
        assert share_at_least(n - 1, n - 1, n - 1, bar, 0.05).p_go > 0.05


def test_a_bar_of_one_and_a_margin_of_none_are_shown_by_no_number_of_items() -> None:
    assert least_items_for_bar(1.0) is None and least_items_for_margin(0.0) is None


@pytest.mark.parametrize(("n", "margin"), [(100, 0.09), (300, 0.05), (1000, 0.03)])
def test_the_smallest_margin_is_near_the_one_found_by_search(n: int, margin: float) -> None:
    found = smallest_margin(n, 0.1)
    assert found is not None and abs(found - margin) <= 0.006
    assert chance_to_pass(n, found + 0.005, 0.1) >= 0.8


@pytest.mark.parametrize(
    ("n", "rows", "drop"), [(100, 1, 0.125), (300, 1, 0.09), (1000, 1, 0.075), (100, 10, 0.155)]
)
def test_the_visible_drop_is_near_the_one_found_by_search(n: int, rows: int, drop: float) -> None:
    found = smallest_visible_drop(n, 0.05, 0.1, rows=rows)
    assert found is not None and abs(found - drop) <= 0.01
    assert DropTest(n, 0.05).power(0.05 / rows, 0.1, found + 0.005, below=False) >= 0.8


def test_a_tiny_set_has_no_margin_that_says_anything() -> None:
    found = smallest_margin(2, 0.1)
    assert found is not None and found > 0.75
    assert smallest_visible_drop(3, 0.1, 0.1, rows=10) is None


def test_shares_that_pass_and_fail_are_those_of_the_exact_test() -> None:
    passes, fails = passing_share(200, 0.8), failing_share(200, 0.8)
    assert passes is not None and fails is not None and fails < 0.8 < passes
    assert chance_to_reach(200, 0.8, passes) >= 0.8 > chance_to_reach(200, 0.8, passes - 0.005)
    most = max(k for k in range(201) if share_at_least(k, k, 200, 0.8, 0.05).p_nogo <= 0.05)
    from scipy.stats import binom

    assert binom.cdf(most, 200, fails) >= 0.8 > binom.cdf(most, 200, fails + 0.005)


def test_a_suggested_bar_is_the_highest_that_a_model_of_that_share_passes() -> None:
    bar = suggest_bar(300, 0.9)
    assert bar == 0.85
    assert chance_to_reach(300, bar, 0.9) >= 0.8 > chance_to_reach(300, bar + 0.01, 0.9)
    assert suggest_bar(2, 0.05) is None


def test_the_fewest_right_is_where_the_p_value_turns() -> None:
    least = fewest_right(50, 0.8, 0.05)
    assert least is not None
    assert share_at_least(least, least, 50, 0.8, 0.05).p_go <= 0.05
    assert share_at_least(least - 1, least - 1, 50, 0.8, 0.05).p_go > 0.05
    assert fewest_right(10, 0.9, 0.05) is None
