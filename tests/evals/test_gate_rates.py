"""Simulated gates: wrong verdicts are as rare as promised, and planted faults are found.

A few hundred draws each with fixed seeds, through the functions of benchmarks/gate_calibration.py, which
measures the same with thousands. A bound is what a rate of 5 % stays under with probability 0.999.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from opswright.core.statistics.power import smallest_margin, smallest_visible_drop

DRAWS = 300
RARE = 0.097  # 29 of 300 at a true rate of 5 %


@pytest.fixture(scope="module")
def simulated(load_script: Callable[[Path, str], ModuleType]) -> ModuleType:
    return load_script(Path(__file__).parents[2] / "benchmarks" / "gate_calibration.py", "gate_calibration")


@pytest.mark.parametrize("slices", [1, 5, 10])
@pytest.mark.parametrize("discordance", [0.02, 0.1, 0.3])
def test_a_model_against_itself_is_not_refused(
    simulated: ModuleType, discordance: float, slices: int
) -> None:
    rates = simulated.binary(100, discordance, [0.0] * slices, DRAWS)
    assert rates.no_go <= 0.02  # rules that compare point estimates refuse 14 to 73 %


@pytest.mark.parametrize("slices", [1, 5])
@pytest.mark.parametrize(("n", "discordance"), [(30, 0.3), (100, 0.1), (300, 0.1)])
def test_a_drop_of_the_whole_margin_is_not_go(
    simulated: ModuleType, n: int, discordance: float, slices: int
) -> None:
    drops = [simulated.MARGIN, *[0.0] * (slices - 1)]
    rates = simulated.binary(n, discordance, drops, DRAWS)
    assert rates.go <= RARE and rates.no_go <= RARE


@pytest.mark.parametrize(("n", "discordance"), [(100, 0.02), (100, 0.1), (300, 0.1), (300, 0.3)])
def test_what_the_plan_promises_four_times_in_five_happens(
    simulated: ModuleType, n: int, discordance: float
) -> None:
    margin, drop = smallest_margin(n, discordance), smallest_visible_drop(n, 0.05, discordance)
    in_ten = smallest_visible_drop(n, 0.05, discordance, rows=10)
    assert margin is not None and drop is not None and in_ten is not None
    assert simulated.binary(n, discordance, [0.0], DRAWS, margin).go >= 0.72
    assert simulated.binary(n, discordance, [drop], DRAWS).no_go >= 0.72
    assert simulated.binary(n, discordance, [in_ten, *[0.0] * 9], DRAWS).no_go >= 0.72


@pytest.mark.parametrize("bar", [0.5, 0.9])
@pytest.mark.parametrize("n", [30, 200])
def test_a_share_at_its_bar_is_seldom_decided(simulated: ModuleType, n: int, bar: float) -> None:
    rates = simulated.bars(n, bar, bar, DRAWS)
    assert rates.go <= RARE and rates.no_go <= RARE
    assert simulated.bars(n, 0.15, bar, DRAWS).no_go >= 0.9


@pytest.mark.parametrize("name", ["total_losses", "skewed", "noisy"])
@pytest.mark.parametrize("n", [30, 300])
def test_graded_scores_keep_the_level(simulated: ModuleType, name: str, n: int) -> None:
    make = getattr(simulated, name)
    at, same = simulated.graded(make, n, 0.05, DRAWS), simulated.graded(make, n, 0.0, DRAWS)
    assert at.go <= RARE and at.no_go <= RARE and same.no_go <= 0.02
    if n == 300:
        assert same.go >= 0.88 and simulated.graded(make, n, 0.15, DRAWS).no_go >= 0.95


@pytest.mark.parametrize("groups", [10, 100])
def test_answers_that_go_together_do_not_count_as_many(simulated: ModuleType, groups: int) -> None:
    make = simulated.talks(0.1)
    at, same = simulated.graded(make, groups, 0.05, DRAWS), simulated.graded(make, groups, 0.0, DRAWS)
    assert at.go <= RARE and at.no_go <= RARE and same.no_go <= 0.02
    counted_alone = simulated.talks(0.1)  # ignoring groups: 13 to 20 % false GO
    import numpy as np

    drops = np.round(counted_alone(np.random.default_rng(7), DRAWS, groups, 0.05) * 10).astype(int)
    if groups == 100:
        wrong = sum(
            simulated.dropped(1000, int(d[d > 0].sum()), int(-d[d < 0].sum())).p_go <= 0.05 for d in drops
        )
        assert wrong / DRAWS > RARE


@pytest.mark.e2e
def test_two_looks_need_half_the_alpha_each(simulated: ModuleType) -> None:
    assert simulated.two_looks(200, 1000, 0.05, 3000) > 0.06
    assert simulated.two_looks(200, 1000, 0.025, 3000) <= 0.05
