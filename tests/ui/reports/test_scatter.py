from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from opswright.evals.leaderboard import LeaderboardRow
from opswright.evals.standings import with_fronts
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
    plot = scatter([standing("good", 0.9, 200), standing("quick", 0.7, 10)])
    good, quick = plot.marks
    assert (good.name, quick.name) == ("good", "quick")
    assert good.y < quick.y and good.x > quick.x
    assert all(
        plot.left <= m.x <= plot.right and plot.top <= m.y_high < m.y_low <= plot.bottom for m in plot.marks
    )


def test_equal_steps_of_the_axis_are_equal_factors_of_latency() -> None:
    marks = scatter([standing(str(ms), 0.5, ms) for ms in (10, 100, 1000)]).marks
    first, second, third = sorted(mark.x for mark in marks)
    assert second - first == pytest.approx(third - second, abs=0.2)


def test_what_has_no_latency_is_named_and_not_placed() -> None:
    lines = [standing("model", 0.9, 20), standing("tfidf_svc", 0.8, None), standing("tfidf_svc", 0.7, None)]
    plot = scatter(lines)
    assert [mark.name for mark in plot.marks] == ["model"] and plot.unplaced == ("tfidf_svc",)
    assert scatter(lines[1:]).marks == ()


def test_names_never_lie_on_each_other_or_outside() -> None:
    plot = scatter([standing(f"checkpoint:{n:012d}", 0.5, 100) for n in range(12)])
    heights = [mark.label_y for mark in plot.marks]
    assert all(below - above >= 14.9 for above, below in pairwise(heights))
    assert plot.top <= heights[0] and heights[-1] <= plot.bottom
    edge = max(scatter([standing("x" * 40, 0.5, ms) for ms in (1, 99)]).marks, key=lambda m: m.x)
    assert edge.anchor == "end" and edge.label_x < edge.x


def test_every_suite_has_a_plot_of_its_own() -> None:
    lines = [standing("a", 0.5, 5), standing("a", 0.5, 5, suite="banking77", suite_digest="e" * 64)]
    assert [(plot.suite, len(plot.marks)) for plot in scatters(lines)] == [("clinc150", 1), ("banking77", 1)]


def test_a_plot_for_each_price_draws_the_front_through_the_models_that_none_beats() -> None:
    lines = [
        standing("quick", 0.7, 10, size_bytes=2_000_000, report="eval-report:" + "a" * 64),
        standing("good", 0.9, 200, size_bytes=1_000_000, report="eval-report:" + "b" * 64),
        standing("beaten", 0.8, 300, size_bytes=4_000_000, report="eval-report:" + "c" * 64),
    ]
    latency, size = scatters(with_fronts(lines))
    assert {mark.name: mark.on_front for mark in latency.marks} == {
        "quick": True,
        "good": True,
        "beaten": False,
    }
    quick, good = (next(mark for mark in latency.marks if mark.name == name) for name in ("quick", "good"))
    assert latency.front == f"{quick.x:g},{quick.y:g} {good.x:g},{quick.y:g} {good.x:g},{good.y:g}"
    assert [mark.name for mark in size.marks if mark.on_front] == ["good"] and size.front == ""
    assert (size.price, size.x_ticks[0].text) == ("size", "0.5") and "1.0 MB" in size.marks[0].message
