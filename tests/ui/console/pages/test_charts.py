"""Small plots: round ticks, values where they belong, gaps that stay gaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from opswright.ui.console.pages.charts import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Series,
    figure,
    level_ticks,
    time_chart,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = [START + timedelta(seconds=60 * n) for n in range(4)]


@pytest.mark.parametrize("highest", [0, 0.003, 0.9, 1, 3, 7, 42, 99.9, 100, 1234, 8.1e6])
def test_ticks_are_round_few_and_reach_the_highest_value(highest: float) -> None:
    ticks = level_ticks(highest)
    assert ticks[0] == 0 and ticks[-1] >= highest * (1 - 1e-9) and 2 <= len(ticks) <= 6
    assert ticks[-1] <= max(1.0, 2 * highest)


def test_values_stand_in_the_middle_of_their_buckets_on_an_axis_from_zero() -> None:
    chart = time_chart("Requests", "", TIMES, 60, [Series("v1", [0, 10, None, 20])])
    (stroke,) = chart.paths
    width = (RIGHT - LEFT) / 4
    assert [x for x, _, _ in stroke.dots] == [round(LEFT + width * n, 1) for n in (0.5, 1.5, 3.5)]
    assert [y for _, y, _ in stroke.dots] == [BOTTOM, (TOP + BOTTOM) / 2, TOP]
    assert stroke.path.count("M") == 2 and stroke.path.count("L") == 1
    assert stroke.dots[1][2] == "v1: 10, 00:01 UTC"
    assert [tick.text for tick in chart.y_ticks] == ["0", "5", "10", "15", "20"]


def test_a_chart_without_a_value_above_zero_is_empty() -> None:
    assert time_chart("Failed", "", TIMES, 60, [Series("v1", [0, 0, None, 0])]).is_empty
    assert time_chart("Failed", "", [], 60, []).is_empty
    assert not time_chart("Failed", "", TIMES, 60, [Series("v1", [0, 1, None, 0])]).is_empty


def test_only_changes_within_the_time_shown_are_marked() -> None:
    marks = [(START + timedelta(seconds=s), str(s)) for s in (-1, 0, 120, 240, 241)]
    chart = time_chart("Requests", "", TIMES, 60, [Series("v1", [1, 1, 1, 1])], marks)
    assert [(mark.text, mark.at) for mark in chart.marks] == [
        ("0", LEFT),
        ("120", (LEFT + RIGHT) / 2),
        ("240", RIGHT),
    ]


def test_figures_have_three_digits_and_thousands_set_apart() -> None:
    assert [figure(v) for v in (0, 0.012345, 7.26, 123.4, 45678)] == ["0", "0.0123", "7.26", "123", "45,678"]
