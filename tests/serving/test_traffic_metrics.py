"""Metrics of the traffic log: per release, over time, and the same whatever was cut or is being written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from opswright.core.workspace import Workspace
from opswright.serving.canary.evidence import p95
from opswright.serving.gateway.traffic_log import TrafficLog, TrafficRow
from opswright.serving.traffic.metrics import TrafficMetrics, bucket_for, metrics_by_release, read_columns

START = datetime(2026, 1, 1, tzinfo=UTC)


def row(second: float, **changes: Any) -> TrafficRow:
    time = (START + timedelta(seconds=second)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    usual = {"release": "v1-a", "route": "stable", "status": "ok", "rail": None, "latency_ms": 5.0}
    fixed = {"time": time, "id": str(second), "text": "hi", "output": "yo", "model_version": 1}
    return TrafficRow(**{"finish": "stop", **usual, **fixed, **changes})


def of(*rows: TrafficRow, **options: Any) -> TrafficMetrics:
    columns = ("time", "release", "route", "status", "rail", "latency_ms", "finish")
    table = {name: [getattr(one, name) for one in rows] for name in columns}
    schema = dict.fromkeys(columns, pl.String) | {"latency_ms": pl.Float64}
    return metrics_by_release(pl.DataFrame(table, schema=schema), **options)


def test_failures_refusals_and_blocks_are_told_apart_and_only_answers_have_a_latency() -> None:
    found = of(
        row(0, latency_ms=3.0),
        row(1, status="error", finish="error: BackendError", latency_ms=900.0),
        row(2, status="error", finish="error: AskError", latency_ms=900.0),
        row(3, status="blocked", rail="topics", latency_ms=900.0),
    ).totals["v1-a"]
    assert (found.requests, found.failed, found.refused, found.blocked) == (4, 1, 1, 1)
    assert (found.p50_ms, found.p95_ms) == (3.0, 3.0)


def test_the_p95_is_the_one_that_promotion_judges_by() -> None:
    for n in (1, 7, 19, 20, 21, 100, 333):
        latencies = [float((7 * i) % n) for i in range(n)]
        total = of(*(row(i, latency_ms=ms) for i, ms in enumerate(latencies))).totals["v1-a"]
        assert total.p95_ms == p95(latencies)


def test_stable_and_canary_have_a_series_each_with_gaps_where_they_answered_nothing() -> None:
    rows = [row(s) for s in (0, 1, 65)] + [row(61, release="v2-b", route="canary", status="error", finish="")]
    found = of(*rows, bucket_s=60)
    assert found.times == (START, START + timedelta(seconds=60))
    first, second = found.series["v1-a"]
    assert first is not None and second is not None and (first.requests, second.requests) == (2, 1)
    empty, failed = found.series["v2-b"]
    assert empty is None and failed is not None and failed.failed == 1 and failed.p95_ms is None
    assert list(found.totals) == ["v1-a", "v2-b"] and found.requests == 4


def test_a_window_holds_its_own_rows_and_shows_its_quiet_time() -> None:
    start, end = START + timedelta(seconds=600), START + timedelta(seconds=1500)
    found = of(row(1), row(700), row(9000), start=start, end=end)
    assert found.requests == 1 and found.bucket_s == 30
    assert found.times[0] == start and len(found.times) == 31
    quiet = of(start=start, end=end)
    assert quiet.requests == 0 and len(quiet.times) == 31
    assert of().times == ()


@pytest.mark.parametrize("window_s", [0, 1, 59, 900, 3600, 86_400, 90 * 86_400, 1000 * 86_400])
def test_any_window_is_cut_into_at_most_sixty_buckets(window_s: int) -> None:
    bucket_s = bucket_for(window_s)
    assert (START.timestamp() + window_s) // bucket_s - START.timestamp() // bucket_s + 1 <= 60


def test_blocks_are_counted_by_rail_most_first() -> None:
    blocked = [row(n, status="blocked", rail="pii") for n in range(2)]
    blocked += [row(n, status="blocked", rail="topics", release="v2-b") for n in range(3)]
    found = of(*blocked, row(9))
    assert list(found.rails.items()) == [("topics", {"v2-b": 3}), ("pii", {"v1-a": 2})]


@pytest.mark.parametrize(
    "cut", ['{"time":"2026-01-01T00:00:5', '{"time":"2026","text":"a \\"}', "}\n[]\n\x00"]
)
def test_the_log_is_read_over_segments_without_lines_that_were_cut(workspace: Workspace, cut: str) -> None:
    log = TrafficLog(workspace.endpoints / "support", segment_bytes=600)
    for n in range(20):
        log.append(row(n, text='a "quoted" \n <b>text</b> ✓'))
    log.close()
    last = sorted((workspace.endpoints / "support").glob("traffic-*.jsonl"))[-1]
    with last.open("a") as file:
        file.write(cut)
    assert read_columns(workspace, "support").height == 20
    assert metrics_by_release(read_columns(workspace, "support")).requests == 20
    late = read_columns(workspace, "support", after="2026-01-01T00:00:14Z")
    assert sorted(late["time"].str.slice(17, 2)) == ["15", "16", "17", "18", "19"]
    assert read_columns(workspace, "nobody").height == 0
