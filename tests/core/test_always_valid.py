"""Tests that may be looked at after every request: how seldom they err, and how soon they find what is there.

The figures they must agree with were simulated with other code, before these tests were written: requests of
both releases until withdrawn, median and 95th percentile of 2,000 canaries, six tests sharing 5 %.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from opswright.core.statistics.always_valid import (
    EventCounts,
    block_differences,
    log_e_events,
    log_e_share,
    log_e_within,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIMIT = math.log(6 / 0.05)
RUNS = 300


def first(log_e: NDArray[np.float64], at: NDArray[np.int64], limit: float = LIMIT) -> float:
    hit = np.flatnonzero(log_e >= limit)
    return float(at[hit[0]]) + 1 if len(hit) else math.inf


def event_run(draw: np.random.Generator, n: int, share: float, usual: float, canary: float) -> float:
    is_canary = draw.random(n) < share
    at = np.flatnonzero(draw.random(n) < np.where(is_canary, canary, usual))
    mine = np.cumsum(is_canary[at], dtype=np.int64)
    return first(log_e_events([EventCounts(mine, np.arange(1, len(at) + 1) - mine, share)]), at)


def quantiles(found: list[float]) -> tuple[float, float]:
    return float(np.quantile(found, 0.5, method="higher")), float(np.quantile(found, 0.95, method="higher"))


@pytest.mark.parametrize(
    ("usual", "canary", "share", "n", "median", "p95"),
    [
        (0.0, 0.05, 0.1, 4_000, 537, 1272),
        (0.01, 0.06, 0.1, 12_000, 1130, 3118),
        (0.01, 0.06, 0.5, 6_000, 509, 1195),
        (0.05, 0.10, 0.5, 6_000, 1282, 2780),
        (0.02, 0.60, 0.01, 3_000, 419, 1253),
        (0.02, 0.60, 0.1, 1_000, 57, 148),
        (0.02, 0.60, 0.5, 400, 31, 59),
    ],
)
def test_faults_are_found_as_soon_as_was_simulated(
    usual: float, canary: float, share: float, n: int, median: int, p95: int
) -> None:
    draw = np.random.default_rng(5)
    found = quantiles([event_run(draw, n, share, usual, canary) for _ in range(RUNS)])
    assert found == pytest.approx((median, p95), rel=0.2)


def test_disagreement_is_found_as_soon_as_was_simulated() -> None:
    draw = np.random.default_rng(5)
    found = []
    for _ in range(RUNS):
        at = np.flatnonzero(draw.random(2_000) < 0.1)
        numbers = np.arange(1, len(at) + 1)
        found.append(first(log_e_share(numbers, numbers, 0.3), at))
    assert quantiles(found) == pytest.approx((48, 90), rel=0.2)


def test_no_worse_is_shown_as_soon_as_was_simulated() -> None:
    draw = np.random.default_rng(5)
    found, wrong = [], 0
    for _ in range(RUNS):
        is_canary = draw.random(4_000) < 0.5
        healthy, ends = block_differences((draw.random(4_000) < 0.01).astype(float), is_canary)
        found.append(first(log_e_within(healthy, 0.05), ends, math.log(20)))
        at_margin = (draw.random(4_000) < 0.01 + 0.05 * is_canary).astype(float)
        wrong += math.isfinite(
            first(log_e_within(block_differences(at_margin, is_canary)[0], 0.05), ends, math.log(20))
        )
    assert quantiles(found) == pytest.approx((333, 746), rel=0.2)
    assert wrong / RUNS <= 0.05


@pytest.mark.parametrize("usual", [0.0, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("share", [0.01, 0.5])
def test_a_healthy_canary_is_seldom_found_worse_however_often_one_looks(usual: float, share: float) -> None:
    draw = np.random.default_rng(6)
    found = [event_run(draw, 10_000, share, usual, usual) for _ in range(RUNS)]
    assert np.isfinite(found).mean() <= 0.05 / 6 + 3 * math.sqrt(0.05 / 6 / RUNS)


def test_a_share_that_was_raised_on_the_way_is_counted_by_its_stages() -> None:
    """Events of each stage count by its own chance: pooled, a healthy canary would look worse."""
    draw = np.random.default_rng(7)
    wrong = pooled = 0
    for _ in range(RUNS):
        counts = []
        for n, share in ((5_000, 0.01), (5_000, 0.5)):
            hits = int((draw.random(n) < 0.05).sum())
            mine = int((draw.random(hits) < share).sum())
            counts.append(EventCounts(mine, hits - mine, share))
        wrong += float(log_e_events(counts)) >= LIMIT
        whole = EventCounts(sum(int(c.new) for c in counts), sum(int(c.old) for c in counts), 0.01)
        pooled += float(log_e_events([whole])) >= LIMIT
    assert wrong == 0 and pooled == RUNS


def test_a_mean_that_did_not_rise_is_found_and_one_that_did_is_not() -> None:
    draw = np.random.default_rng(8)
    alike = draw.random(2_000) - draw.random(2_000)
    assert log_e_within(alike, 0.1).max() > LIMIT
    assert log_e_within(np.clip(alike + 0.3, -1, 1), 0.1).max() < LIMIT


def test_a_block_closes_as_soon_as_it_holds_both() -> None:
    bad = np.array([1.0, 0, 1, 1, 0, 0, 1])
    is_new = np.array([True, True, False, False, True, True, True])
    differences, ends = block_differences(bad, is_new)
    assert list(ends) == [2, 4]
    assert list(differences) == [0.5 - 1.0, 0.0 - 1.0]
    assert len(block_differences(bad, np.ones(7, bool))[0]) == 0


def test_without_any_event_nothing_is_known() -> None:
    assert float(log_e_events([EventCounts(0, 0, 0.1)])) == pytest.approx(0.0)
