"""The exact paired test of a drop: against enumeration, and the bounds that invert it."""

from __future__ import annotations

from math import comb

import pytest

from opswright.core.statistics import DropTest, Paired


def chance(lost: int, won: int, n: int, p_lost: float, p_won: float) -> float:
    same = n - lost - won
    ways = comb(n, lost) * comb(n - lost, won)
    return float(ways * p_lost**lost * p_won**won * max(1 - p_lost - p_won, 0.0) ** same)


@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize(("n", "margin"), [(8, 0.2), (15, 0.1), (20, 0.3), (12, 0.0), (20, -0.25)])
def test_a_wrong_decision_at_the_margin_is_never_likelier_than_alpha(
    n: int, margin: float, below: bool
) -> None:
    test = DropTest(n, margin)
    counts = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    p = {bc: test.p_go(*bc) if below else test.p_nogo(*bc) for bc in counts}
    for alpha in (0.05, 0.2):
        decides = [bc for bc in counts if p[bc] <= alpha]
        for step in range(60):
            won = (1 - abs(margin)) / 2 * step / 59 + max(-margin, 0)
            size = sum(chance(b, c, n, won + margin, won) for b, c in decides)
            assert size <= alpha + 0.002, (won, size)  # between the 41 values that are tried


def test_fewer_losses_are_never_worse() -> None:
    test = DropTest(60, 0.1)
    for won in (0, 5, 20):
        p = [test.p_go(lost, won) for lost in range(60 - won)]
        assert p == sorted(p)
        p = [test.p_nogo(lost, won) for lost in range(60 - won)]
        assert p == sorted(p, reverse=True)


@pytest.mark.parametrize(
    ("n", "lost", "won", "margin", "p_go", "p_nogo"),
    [  # from an enumeration of every pair of counts
        (100, 5, 5, 0.05, 0.080567781, 0.962918791),
        (300, 15, 15, 0.05, 0.005650412, 0.997667861),
        (300, 40, 10, 0.05, 0.987576612, 0.017047641),
    ],
)
def test_p_values_are_those_of_the_enumeration(
    n: int, lost: int, won: int, margin: float, p_go: float, p_nogo: float
) -> None:
    test = DropTest(n, margin)
    assert test.p_go(lost, won) == pytest.approx(p_go, abs=1e-8)
    assert test.p_nogo(lost, won) == pytest.approx(p_nogo, abs=1e-8)


def test_the_bounds_invert_the_test() -> None:
    for n, lost, won in ((60, 6, 3), (400, 0, 0), (400, 12, 30), (3000, 200, 160), (30, 30, 0), (30, 0, 30)):
        high = DropTest.upper_bound(n, lost, won, 0.05)
        low = DropTest.lower_bound(n, lost, won, 0.05)
        assert -1 <= low <= (lost - won) / n <= high <= 1
        if high < 0.99:
            assert (
                DropTest(n, high + 0.001).p_go(lost, won) <= 0.05 < DropTest(n, high - 0.001).p_go(lost, won)
            )
        if low > -0.99:
            assert DropTest(n, low - 0.001).p_nogo(lost, won) <= 0.05
            assert DropTest(n, low + 0.001).p_nogo(lost, won) > 0.05


def test_an_interval_holds_zero_exactly_when_no_difference_is_shown() -> None:
    for lost, won in ((5, 0), (6, 0), (20, 10), (22, 10), (0, 5), (0, 6), (0, 0), (10, 22)):
        both = Paired(200, lost, won)
        low, high = both.drop_interval(0.95)
        assert (low <= 0 <= high) is (both.p_value > 0.05), (lost, won, low, high)


def test_nothing_lost_shows_a_margin_from_the_least_number_of_items_on() -> None:
    assert DropTest(58, 0.05).p_go(0, 0) > 0.05 >= DropTest(59, 0.05).p_go(0, 0)
    assert DropTest(28, 0.1).p_go(0, 0) > 0.05 >= DropTest(29, 0.1).p_go(0, 0)


def test_power_is_the_chance_of_a_decision() -> None:
    test = DropTest(40, 0.1)
    for drop, discordance, below in ((0.0, 0.2, True), (0.3, 0.3, False), (0.1, 0.1, True)):
        p_lost, p_won = (discordance + drop) / 2, (discordance - drop) / 2
        told = test.power(0.05, discordance, drop, below)
        counts = [(b, c) for b in range(41) for c in range(41 - b)]
        decides = [bc for bc in counts if (test.p_go(*bc) if below else test.p_nogo(*bc)) <= 0.05]
        assert told == pytest.approx(sum(chance(b, c, 40, p_lost, p_won) for b, c in decides), abs=1e-9)


def test_many_thousands_of_items_are_tested_as_exactly() -> None:
    test = DropTest(50_000, 0.03)
    assert test.p_go(2500, 2500) < 1e-50 and test.p_nogo(5000, 2500) < 1e-25
