"""The gateway's Prometheus metrics: requests, refusals, latency, tokens, queue, blocks, and what was healed.

Labels are bounded: endpoints are those deployed, of each the newest releases are kept, reasons and rails are
from short lists; what is beyond counts as `other`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .metrics_sum import Snapshot, as_text, summed, taken, without
from .traffic_log import CALLERS_FAULTS, TrafficRow

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

_Metric = TypeVar("_Metric", "Counter", "Histogram")
_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_RELEASES = 10  # of an endpoint whose series are kept
_RAILS = 30
_OTHER = "other"
_MISSING = "opswright_replicas_missing"
REASONS = frozenset(
    {
        "bad_request", "cancelled", "context_length_exceeded", "deadline", "denied", "endpoint_not_allowed",
        "insufficient_quota", "internal", "invalid_api_key", "method_not_allowed", "model_not_found",
        "prompt_refused", "queue_full", "queue_share_exceeded", "rate_limit_exceeded", "request_not_found",
        "request_timeout", "request_too_large", "scope_missing", "unavailable", "unknown_url", "wrong_host",
    }
)  # fmt: skip


class GatewayMetrics:
    """Counters of one worker, in a registry of its own, and what the one before it in its place counted."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry

        self.registry = CollectorRegistry()
        self._releases: dict[
            str, OrderedDict[str, None]
        ] = {}  # by endpoint, the one that answered last at the end
        self._series: dict[tuple[str, ...], dict[Any, Any]] = {}  # by endpoint and release
        self._rails: set[str] = set()
        self._before: Snapshot = {}  # of a worker whose place this one took
        self._add_traffic()
        self._add_health()

    def _add_traffic(self) -> None:
        labels = ["endpoint", "release", "route"]
        self._requests = self._counter(
            "opswright_requests", "Requests that reached a release.", *labels, "status"
        )
        self._latency = self._histogram("opswright_latency_seconds", "From request to answer.", *labels)
        self._first_token = self._histogram(
            "opswright_first_token_seconds", "From request to the first token of a streamed answer.", *labels
        )
        self._queue = self._histogram(
            "opswright_queue_seconds", "From request to when its engine was asked.", *labels
        )
        self._tokens = self._counter("opswright_tokens", "Tokens read and made.", *labels, "kind")
        self._blocked = self._counter("opswright_blocked", "Requests a rail blocked.", *labels[:2], "rail")
        self._refused = self._counter(
            "opswright_refused", "Requests answered with an error, those that reached no release too.",
            "reason", "status",
        )  # fmt: skip
        self._of_releases = (
            self._requests, self._latency, self._first_token, self._queue, self._tokens, self._blocked,
        )  # fmt: skip

    def _add_health(self) -> None:
        from prometheus_client import Gauge

        self.lost_rows = self._counter(
            "opswright_traffic_rows_lost", "Traffic log lines that could not be written.", "endpoint"
        )
        self.restarts = self._counter(
            "opswright_server_restarts", "Engine servers found dead and started again."
        )
        self.reloads = self._counter(
            "opswright_release_reloads", "Releases found dead in a living server and loaded again.",
            "endpoint", "release",
        )  # fmt: skip
        self._missing = Gauge(
            _MISSING, "Replicas of the engine server that do not serve a release.",
            ["endpoint", "release"], registry=self.registry,
        )  # fmt: skip
        self.in_flight = Gauge(
            "opswright_requests_in_flight", "Requests being answered.", registry=self.registry
        )
        self._depth = Gauge(
            "opswright_queue_depth",
            "Requests that wait for their turn.",
            ["endpoint"],
            registry=self.registry,
        )

    def watch_queue(self, endpoint: str, depth: Callable[[], float]) -> None:
        """Tell how many requests of an endpoint wait, whenever somebody looks."""
        self._depth.labels(endpoint).set_function(depth)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        from prometheus_client import Counter

        return Counter(name, says, labels, registry=self.registry)

    def _histogram(self, name: str, says: str, *labels: str) -> Histogram:
        from prometheus_client import Histogram

        return Histogram(name, says, labels, buckets=_BUCKETS_S, registry=self.registry)

    def answered(self, endpoint: str, row: TrafficRow) -> None:
        """Count a request that ended, by its row of the traffic log."""
        self._keep_newest(endpoint, row.release)
        labels = (endpoint, row.release, row.route)
        is_callers = row.status == "error" and row.finish in CALLERS_FAULTS
        self._child(self._requests, *labels, "refused" if is_callers else row.status).inc()
        self._child(self._latency, *labels).observe(row.latency_ms / 1000)
        if row.first_token_ms is not None:
            self._child(self._first_token, *labels).observe(row.first_token_ms / 1000)
        if row.queue_ms is not None:
            self._child(self._queue, *labels).observe(row.queue_ms / 1000)
        for kind, count in (("read", row.tokens_in), ("made", row.tokens_out)):
            self._child(self._tokens, *labels, kind).inc(count)
        if row.status == "blocked":
            self._blocked.labels(endpoint, row.release, self._rail(row.rail or "")).inc()

    def _child(self, metric: _Metric, *labels: str) -> _Metric:
        """The series of a release, kept: to find it by its labels each time costs more than to count."""
        series = self._series.setdefault(labels[:2], {})
        key = (metric, labels[2:])
        if key not in series:
            series[key] = metric.labels(*labels)
        found: _Metric = series[key]
        return found

    def refused(self, reason: str, status: int) -> None:
        """Count an answer that is an error, by its code and HTTP status."""
        self._refused.labels(reason if reason in REASONS else _OTHER, str(status)).inc()

    def set_missing(self, found: Mapping[tuple[str, str], int]) -> None:
        """How many replicas lack each release, by endpoint and release: all that there are now."""
        self._missing.clear()
        for labels, count in found.items():
            self._missing.labels(*labels).set(count)

    def _keep_newest(self, endpoint: str, release: str) -> None:
        """Note that a release answered, and forget the series of the one that has been silent longest."""
        known = self._releases.setdefault(endpoint, OrderedDict())
        known[release] = None
        known.move_to_end(release)
        if len(known) > _RELEASES:
            silent, _ = known.popitem(last=False)
            self._series.pop((endpoint, silent), None)
            for metric in self._of_releases:
                metric.remove_by_labels({"endpoint": endpoint, "release": silent})
            self._before = without(self._before, {"endpoint": endpoint, "release": silent})

    def _rail(self, name: str) -> str:
        if name not in self._rails and len(self._rails) >= _RAILS:
            return _OTHER
        self._rails.add(name)
        return name

    def go_on_from(self, before: Snapshot) -> None:
        """Count on from what a killed worker told last in this one's place."""
        self._before = before
        for _, labels, _ in before.get("opswright_requests", {}).get("samples", ()):
            self._keep_newest(labels["endpoint"], labels["release"])

    def snapshot(self) -> Snapshot:
        """Everything that was counted here and before."""
        own = taken(self.registry)
        return summed([own, self._before]) if self._before else own

    def text(self) -> bytes:
        """Everything in Prometheus' text form."""
        return self.text_of(self.snapshot())

    def text_of(self, own: Snapshot, others: Sequence[Snapshot] = ()) -> bytes:
        """What this worker counted and what the others did, in Prometheus' text form."""
        return as_text(summed([own, *others], largest=(_MISSING,)) if others else own)
