"""What the page "Endpoints" gathers: releases, colours, traffic of a window, and the past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from opswright.core.artifact_refs import BundleRef
from opswright.core.workspace import Workspace
from opswright.serving.gateway.traffic_log import TrafficLog, TrafficRow
from opswright.serving.releases import EndpointState, new_release, write_state
from opswright.ui.console.markup import render
from opswright.ui.console.pages.endpoint_metrics import bucket_text, moment, view

MEAN = '<script>alert(1)</script> **bold** [a](http://example.com) ${1+1} {{value}} "'


def row(minutes_ago: float, release: str, text: str = "hi", **changes: object) -> TrafficRow:
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    time = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    usual = {"output": "yo", "status": "ok", "rail": None, "latency_ms": 4.0, "model_version": 1}
    fixed = {"time": time, "id": text, "release": release, "route": "stable", "text": text}
    return TrafficRow(**{**usual, **changes, **fixed})  # type: ignore[arg-type]


@pytest.fixture
def served(workspace: Workspace) -> EndpointState:
    state = EndpointState(endpoint="support")
    stable = new_release(state, BundleRef.of("1" * 64), None, "onnx-int8")
    state = state.model_copy(update={"stable": stable, "last_number": 1}).changed("deployed", stable, "k1")
    canary = new_release(state, BundleRef.of("2" * 64), None, "onnx-int8")
    state = state.model_copy(update={"canary": canary, "canary_percent": 20}).changed("canary", canary, "k2")
    log = TrafficLog(workspace.endpoints / "support")
    log.append(row(100, stable.id))
    log.append(row(30, stable.id, status="blocked", rail="topics"))
    log.append(row(20, canary.id, MEAN))
    log.append(row(10, stable.id))
    log.close()
    return write_state(workspace, state)


def test_a_window_counts_its_own_requests_and_releases_keep_their_colours(
    workspace: Workspace, served: EndpointState
) -> None:
    every, hour, quarter = (view(workspace, "support", w) for w in ("All", "Last hour", "Last 15 minutes"))
    assert [one.traffic.requests for one in (every, hour, quarter)] == [4, 3, 1]
    assert every.tones == hour.tones == quarter.tones and len(set(every.tones.values())) == 2
    assert (hour.bucket, quarter.bucket) == ("2 minutes", "30 s")
    assert [(one.route, one.percent) for one in hour.served] == [("stable", 80), ("canary", 20)]
    assert [chart.is_empty for chart in hour.charts] == [False, False, True, False]
    assert [event.change.what for event in hour.events] == ["canary", "deployed"]
    assert hour.events[0].record is None


def test_a_release_has_zeros_while_it_was_asked_and_nothing_before_or_after(
    workspace: Workspace, served: EndpointState
) -> None:
    requests = view(workspace, "support", "Last hour").charts[0]
    stable, canary = sorted(requests.paths, key=lambda stroke: stroke.name)
    assert len(canary.dots) == 1 and 10 <= len(stable.dots) <= 12
    assert "M" in stable.path and stable.path.count("M") == 1


def test_what_users_wrote_is_text_on_the_page(workspace: Workspace, served: EndpointState) -> None:
    shown = render(
        "endpoint.html",
        view=view(workspace, "support", "All"),
        standing={"alarms": [], "gateway": None, "server": None, "fault": None},
        row={"answers": False, "last_request": None},
    )
    assert "<script>" not in shown and "&lt;script&gt;alert(1)" in shown
    assert "[a](http://example.com)" in shown and "No gateway is running" in shown
    assert "blocked by topics" in shown and "{{value}}" in shown


def test_what_was_live_is_told_or_why_it_cannot_be(workspace: Workspace, served: EndpointState) -> None:
    assert moment(workspace, "support", "")["live"].canary_percent == 20
    assert moment(workspace, "support", "2020-01-01")["live"] is None
    assert "ISO 8601" in moment(workspace, "support", "<b>noon</b>")["fault"]
    shown = render("endpoint_moment.html", asked="", short=str, **moment(workspace, "support", "<b>noon</b>"))
    assert "<b>" not in shown and "&lt;b&gt;noon" in shown


def test_buckets_are_said_in_words() -> None:
    assert [bucket_text(s) for s in (1, 30, 60, 900, 3600, 86400)] == [
        "1 s", "30 s", "1 minute", "15 minutes", "1 hour", "1 day",
    ]  # fmt: skip
