from __future__ import annotations

import pytest

from opswright.core.statistics import Paired, holm, mcnemar_exact, mcnemar_one_sided, paired, wilson


def test_wilson_gives_the_published_interval_for_78_of_100() -> None:
    low, high = wilson(78, 100)
    assert low == pytest.approx(0.68930, abs=1e-5) and high == pytest.approx(0.84999, abs=1e-5)


def test_wilson_never_leaves_zero_to_one_and_says_nothing_without_items() -> None:
    assert wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == 1.0
    assert wilson(0, 10)[1] > 0.2  # ten misses prove little
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("lost", "won", "p"),
    [
        (30, 12, 0.007915897334896727),
        (12, 30, 0.007915897334896727),
        (5, 5, 1.0),
        (0, 0, 1.0),
        (0, 6, 0.03125),
    ],
)
def test_mcnemar_is_the_exact_two_sided_binomial_test(lost: int, won: int, p: float) -> None:
    assert mcnemar_exact(lost, won) == pytest.approx(p, rel=1e-12)


def test_mcnemar_stays_exact_for_thousands_of_discordant_items() -> None:
    assert mcnemar_exact(3000, 2800) == pytest.approx(0.00896943600119359, rel=1e-9)
    assert 0 <= mcnemar_exact(4000, 1) < 1e-300


def test_paired_counts_what_was_lost_and_won() -> None:
    both = paired([True, True, False, False], [True, False, True, True])
    assert (both.n, both.lost, both.won, both.drop) == (4, 1, 2, -0.25)


def test_the_drop_interval_covers_the_true_drop_about_95_times_in_100() -> None:
    import random

    random.seed(7)
    covered = 0
    for _ in range(120):  # 8 % lost, 5 % won: the true drop is 3 points
        draws = [random.random() for _ in range(400)]
        one = Paired(400, sum(d < 0.08 for d in draws), sum(0.08 <= d < 0.13 for d in draws))
        low, high = one.drop_interval()
        covered += low <= 0.03 <= high
    assert covered / 120 >= 0.91


def test_holm_corrects_as_in_the_textbook_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_mcnemar_in_one_direction_is_small_only_for_a_model_that_won_more() -> None:
    assert mcnemar_one_sided(0, 6) == 1 / 64 and mcnemar_one_sided(6, 0) == 1.0
    assert mcnemar_one_sided(12, 30) == pytest.approx(0.007915897334896727 / 2)
