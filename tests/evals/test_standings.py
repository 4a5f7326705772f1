"""Pareto fronts of the leaderboard."""

from __future__ import annotations

from typing import Any

from opswright.evals.leaderboard import LeaderboardRow
from opswright.evals.standings import front, with_fronts


def line(
    name: str, value: float, p50_ms: float | None, size: int | None = None, **more: Any
) -> LeaderboardRow:
    given = {
        "kind": "checkpoint", "suite": "s", "suite_digest": "d" * 64, "metric": "m", "low": 0.0, "high": 1.0,
        "n": 100, "errors": 0, "slices": {}, "p95_ms": None, "train_dataset": None, "date": "2026-01-01",
        "verdict": None, "run": None, "record": None, "goal": None, **more,
    }  # fmt: skip
    return LeaderboardRow(model=name, value=value, p50_ms=p50_ms, size_bytes=size, report=name, **given)


def test_the_front_holds_those_that_none_beats_for_the_same_or_less() -> None:
    lines = [
        line("best", 0.9, 100), line("slow", 0.9, 200), line("worse", 0.8, 100), line("quick", 0.5, 1),
        line("twin", 0.5, 1), line("untimed", 1.0, None),
    ]  # fmt: skip
    assert front(lines, "latency") == {"best", "quick", "twin"}
    assert front([], "latency") == front(lines, "size") == frozenset()


def test_what_beats_a_front_takes_its_place() -> None:
    """Against every pair: nobody on the front is beaten, and everybody off it is."""
    lines = [line(f"{v}-{ms}", v / 10, ms) for v in range(10) for ms in (1, 2, 5, 9) if (v * ms) % 7 != 3]
    found = front(lines, "latency")

    def beats(a: LeaderboardRow, b: LeaderboardRow) -> bool:
        assert a.p50_ms is not None and b.p50_ms is not None
        return a.value >= b.value and a.p50_ms <= b.p50_ms and (a.value, a.p50_ms) != (b.value, b.p50_ms)

    assert found == {one.id for one in lines if not any(beats(other, one) for other in lines)}


def test_each_suite_version_and_metric_has_fronts_of_its_own() -> None:
    lines = [
        line("a", 0.9, 10, 5),
        line("b", 0.5, 20, 5, suite_digest="e" * 64),
        line("c", 0.4, 30, 9, metric="f"),
    ]
    assert [one.fronts for one in with_fronts(lines)] == [("latency", "size")] * 3
    assert with_fronts([line("x", 0.5, None)])[0].fronts == ()
