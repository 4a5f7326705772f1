"""What the page "Endpoints" shows of one endpoint: from its state, its traffic log and the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ....core.errors import OpswrightError
from ....core.workspace import Workspace
from ....record.index import LedgerIndex
from ....record.ledger import Record
from ....serving.gateway.traffic_log import TrafficRow, read
from ....serving.live import Live, live_at
from ....serving.releases import Change, EndpointState, Release, read_state
from ....serving.traffic.metrics import ReleaseMetrics, TrafficMetrics, metrics_by_release, read_columns
from .charts import Chart, Series, time_chart

WINDOWS_S: dict[str, int | None] = {
    "Last 15 minutes": 900,
    "Last hour": 3600,
    "Last day": 86_400,
    "All": None,
}
_LATEST = 20


@dataclass(frozen=True)
class Served:
    """A release of the endpoint with the part it plays now."""

    route: str
    percent: int
    release: Release
    tone: int


@dataclass(frozen=True)
class Event:
    """A change of what was served, with the ledger record behind it."""

    change: Change
    record: Record | None


@dataclass(frozen=True)
class EndpointView:
    """Everything the page draws."""

    state: EndpointState
    served: tuple[Served, ...]
    tones: Mapping[str, int]
    traffic: TrafficMetrics
    charts: tuple[Chart, ...]
    events: tuple[Event, ...]
    latest: Sequence[TrafficRow]
    window: str
    bucket: str


def view(workspace: Workspace, endpoint: str, window: str) -> EndpointView:
    """The endpoint now, and its traffic of a window."""
    state = read_state(workspace, endpoint)
    traffic = window_figures(workspace, endpoint, window)
    tones = tones_of(state, traffic)
    records = LedgerIndex.of(workspace).changes(change.key for change in state.changes)
    return EndpointView(
        state,
        served_now(state, tones),
        tones,
        traffic,
        charts(traffic, tones, state.changes),
        tuple(Event(change, records.get(change.key)) for change in reversed(state.changes)),
        read(workspace, endpoint, last=_LATEST)[::-1],
        window,
        bucket_text(traffic.bucket_s),
    )


def window_figures(workspace: Workspace, endpoint: str, window: str) -> TrafficMetrics:
    """Figures of the window's traffic; all of it when the window has no length."""
    length_s = WINDOWS_S.get(window)
    if length_s is None:
        return metrics_by_release(read_columns(workspace, endpoint))
    end = datetime.now(UTC)
    start = end - timedelta(seconds=length_s)
    return metrics_by_release(read_columns(workspace, endpoint, after=start.isoformat()), start, end)


def tones_of(state: EndpointState, traffic: TrafficMetrics) -> dict[str, int]:
    """A colour for each release, the same whatever the window: by its number."""
    names = {*traffic.totals, *(release.id for release in (*state.known, *state.previous, *state.releases))}
    ordered = sorted(names, key=lambda name: (_number(name), name))
    return {name: index % 5 for index, name in enumerate(ordered)}


def _number(release: str) -> int:
    digits = release.partition("-")[0].removeprefix("v")
    return int(digits) if digits.isdigit() else 0


def served_now(state: EndpointState, tones: Mapping[str, int]) -> tuple[Served, ...]:
    """Stable, canary, the candidate under examination, and what a rollback leads to."""
    found = []
    if state.stable is not None:
        found.append(Served("stable", 100 - state.canary_percent, state.stable, tones[state.stable.id]))
    if state.canary is not None:
        found.append(Served("canary", state.canary_percent, state.canary, tones[state.canary.id]))
    if state.candidate is not None:
        found.append(Served("being examined", 0, state.candidate, tones[state.candidate.id]))
    found += [Served("before", 0, one, tones[one.id]) for one in state.previous]
    return tuple(found)


def charts(
    traffic: TrafficMetrics, tones: Mapping[str, int], changes: Sequence[Change] = ()
) -> tuple[Chart, ...]:
    """Requests, failures, latency and blocks over time: a line for each release, a mark for each change."""

    def counted(value: Callable[[ReleaseMetrics], int]) -> list[Series]:
        return [Series(name, _counts(row, value), tones[name]) for name, row in traffic.series.items()]

    latency = [
        Series(
            f"{name} {label}", [getattr(one, field) if one else None for one in row], tones[name], is_dashed
        )
        for name, row in traffic.series.items()
        for label, field, is_dashed in (("p95", "p95_ms", False), ("p50", "p50_ms", True))
    ]
    each = f"per {bucket_text(traffic.bucket_s).removeprefix('1 ')}"
    shown = [
        (f"Requests, {each}", "", counted(lambda one: one.requests)),
        ("Latency of answers, ms: p95 solid, p50 dashed", " ms", latency),
        (f"Failed or refused requests, {each}", "", counted(lambda one: one.failed + one.refused)),
        (f"Requests blocked by rails, {each}", "", counted(lambda one: one.blocked)),
    ]
    marks = [
        (datetime.fromisoformat(one.at), f"{one.what} {one.release}, {one.at[:19].replace('T', ' ')} UTC")
        for one in changes
        if one.what != "refused"
    ]
    return tuple(
        time_chart(title, unit, traffic.times, traffic.bucket_s, lines, marks) for title, unit, lines in shown
    )


def _counts(
    row: Sequence[ReleaseMetrics | None], value: Callable[[ReleaseMetrics], int]
) -> list[float | None]:
    """A release's counts between its first and last request, where none is zero; before and after, a gap."""
    busy = [index for index, one in enumerate(row) if one is not None]
    first, last = busy[0], busy[-1]
    return [
        None if not first <= index <= last else float(value(one)) if one is not None else 0.0
        for index, one in enumerate(row)
    ]


def bucket_text(seconds: int) -> str:
    """A bucket's length in words."""
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds % size == 0:
            return f"1 {name}" if seconds == size else f"{seconds // size} {name}s"
    return f"{seconds} s"


def moment(workspace: Workspace, endpoint: str, time: str) -> dict[str, Any]:
    """What the endpoint served at a time, with the record behind it; or why that is not known."""
    try:
        found = live_at(workspace, time.strip() or None, endpoint)
    except OpswrightError as error:
        return {"fault": str(error), "live": None, "record": None}
    live: Live | None = found[0] if found else None
    record = LedgerIndex.of(workspace).changes([live.key]).get(live.key) if live else None
    return {"fault": "", "live": live, "record": record}
