from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from opswright.evals.leaderboard import LeaderboardRow
from opswright.ui.reports.scatter import scatter, scatters


def standing(model: str, value: float, p50_ms: float | None, **more: Any) -> LeaderboardRow:
    low, high = max(0.0, value - 0.02), min(1.0, value + 0.02)
    given = {
        "kind": "checkpoint", "suite": "clinc150", "suite_digest": "d" * 64, "metric": "exact_match",
        "n": 100, "errors": 0, "slices": {}, "p95_ms": p50_ms, "size_bytes": None, "train_dataset": None,
        "date": "2026-01-01T00:00:00+00:00", "verdict": None, "report": "eval-report:" + "a" * 64,
        "run": None, "record": None, "goal": None, **more,
    }  # fmt: skip
    return LeaderboardRow(model=model, value=value, low=low, high=high, p50_ms=p50_ms, **given)


def test_a_better_model_is_higher_and_a_slower_one_further_right() -> None:
    plot = scatter("clinc150", "exact_match", [standing("good", 0.9, 200), standing("quick", 0.7, 10)])
    good, quick = plot.marks
    assert (good.name, quick.name) == ("good", "quick")
    assert good.y < quick.y and good.x > quick.x
    assert all(
        plot.left <= m.x <= plot.right and plot.top <= m.y_high < m.y_low <= plot.bottom for m in plot.marks
    )


def test_equal_steps_of_the_axis_are_equal_factors_of_latency() -> None:
    marks = scatter("s", "m", [standing(str(ms), 0.5, ms) for ms in (10, 100, 1000)]).marks
    first, second, third = sorted(mark.x for mark in marks)
    assert second - first == pytest.approx(third - second, abs=0.2)


def test_what_has_no_latency_is_named_and_not_placed() -> None:
    lines = [standing("model", 0.9, 20), standing("tfidf_svc", 0.8, None), standing("tfidf_svc", 0.7, None)]
    plot = scatter("clinc150", "exact_match", lines)
    assert [mark.name for mark in plot.marks] == ["model"] and plot.unplaced == ("tfidf_svc",)
    assert scatter("clinc150", "exact_match", lines[1:]).marks == ()


def test_names_never_lie_on_each_other_or_outside() -> None:
    plot = scatter("s", "m", [standing(f"checkpoint:{n:012d}", 0.5, 100) for n in range(12)])
    heights = [mark.label_y for mark in plot.marks]
    assert all(below - above >= 14.9 for above, below in pairwise(heights))
    assert plot.top <= heights[0] and heights[-1] <= plot.bottom
    edge = max(scatter("s", "m", [standing("x" * 40, 0.5, ms) for ms in (1, 99)]).marks, key=lambda m: m.x)
    assert edge.anchor == "end" and edge.label_x < edge.x


def test_every_suite_has_a_plot_of_its_own() -> None:
    lines = [standing("a", 0.5, 5), standing("a", 0.5, 5, suite="banking77")]
    assert [(plot.suite, len(plot.marks)) for plot in scatters(lines)] == [("clinc150", 1), ("banking77", 1)]
