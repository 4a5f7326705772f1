"""The gateway's Prometheus metrics: requests, latency, blocks, and what was healed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .traffic_log import TrafficRow

_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class GatewayMetrics:
    """Counters of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        labels = ["endpoint", "release", "route"]
        self._requests = Counter(
            "opswright_requests", "Requests answered.", [*labels, "status"], registry=self.registry
        )
        self._latency = Histogram(
            "opswright_latency_seconds",
            "From request to answer.",
            labels,
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._blocked = Counter(
            "opswright_blocked", "Requests a rail blocked.", ["endpoint", "rail"], registry=self.registry
        )
        self.lost_rows = Counter(
            "opswright_traffic_rows_lost",
            "Traffic log lines that could not be written.",
            ["endpoint"],
            registry=self.registry,
        )
        self.restarts = Counter(
            "opswright_server_restarts",
            "Engine servers found dead and started again.",
            registry=self.registry,
        )
        self.reloads = Counter(
            "opswright_release_reloads",
            "Releases found dead in a living server and loaded again.",
            ["endpoint", "release"],
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "opswright_requests_in_flight", "Requests being answered.", registry=self.registry
        )

    def answered(self, endpoint: str, row: TrafficRow) -> None:
        """Count a request that ended, by its row of the traffic log, with its latency."""
        labels = (endpoint, row.release, row.route)
        self._requests.labels(*labels, row.status).inc()
        self._latency.labels(*labels).observe(row.latency_ms / 1000)
        if row.status == "blocked":
            self._blocked.labels(endpoint, row.rail or "").inc()

    def text(self) -> bytes:
        """Everything in Prometheus' text form."""
        from prometheus_client import generate_latest

        return bytes(generate_latest(self.registry))
