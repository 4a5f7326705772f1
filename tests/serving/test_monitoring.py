"""What an operator watches: metrics with bounded labels, alert rules, a dashboard, and a real Prometheus."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import opswright
from opswright.serving.gateway.metrics import REASONS, GatewayMetrics
from opswright.serving.gateway.metrics_sum import KeptMetrics
from opswright.serving.gateway.peers import Peers
from opswright.serving.gateway.traffic_log import TrafficRow
from opswright.serving.gateway.whole_gateway import WholeGateway
from opswright.serving.workers import GatewayWorker, kept_metrics_path

if TYPE_CHECKING:
    from tests.serving.conftest import House

MONITORING = Path(opswright.__file__).parent / "examples" / "monitoring"
NAME = re.compile(r"opswright_\w+")
PATIENCE_S = 240.0


def row(**more: Any) -> TrafficRow:
    usual: dict[str, Any] = {"time": "2026-01-01T00:00:00.000Z", "id": "r1", "release": "v1-a", "rail": None}
    usual |= {"route": "stable", "text": "hi", "output": "yo", "status": "ok", "finish": "stop"}
    usual |= {"latency_ms": 30.0, "model_version": 1}
    return TrafficRow(**{**usual, **more})


def series(metrics: GatewayMetrics) -> dict[str, float]:
    lines = [line for line in metrics.text().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def exported() -> set[str]:
    """Every metric that a gateway can export, under the names that queries use."""
    families = {family.name: family.type for family in GatewayMetrics().registry.collect()}
    ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    return {name + end for name, kind in families.items() for end in ends[kind]}


def dashboard() -> dict[str, Any]:
    found = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    assert isinstance(found, dict)
    return found


def expressions() -> list[str]:
    """What the dashboard's panels ask, with the values Grafana would put in."""
    asked = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    values = {"$__rate_interval": "30s", "$__range": "5m", "$endpoint": ".*"}
    for name, value in values.items():
        asked = [expr.replace(name, value) for expr in asked]
    return asked


def test_each_figure_is_counted_by_release() -> None:
    metrics = GatewayMetrics()
    metrics.answered("shop", row(tokens_in=7, tokens_out=3, first_token_ms=4.0, queue_ms=0.5))
    metrics.answered("shop", row(status="blocked", rail="topics"))
    metrics.answered("shop", row(status="error", finish="error: AskError"))
    metrics.answered("shop", row(status="error", finish="error: BackendError"))
    metrics.answered("shop", row(status="cancelled", finish="cancelled"))
    of = {"endpoint": "shop", "release": "v1-a", "route": "stable"}
    sample = metrics.registry.get_sample_value
    for status in ("ok", "blocked", "refused", "error", "cancelled"):
        assert sample("opswright_requests_total", {**of, "status": status}) == 1
    assert sample("opswright_tokens_total", {**of, "kind": "read"}) == 7
    assert sample("opswright_tokens_total", {**of, "kind": "made"}) == 3
    assert sample("opswright_first_token_seconds_bucket", {**of, "le": "0.005"}) == 1
    assert sample("opswright_queue_seconds_count", of) == 1
    blocked = {"endpoint": "shop", "release": "v1-a", "rail": "topics"}
    assert sample("opswright_blocked_total", blocked) == 1


def test_labels_are_bounded_whatever_callers_and_releases_come() -> None:
    metrics = GatewayMetrics()
    for number in range(200):
        metrics.answered("shop", row(release=f"v{number}-x", status="blocked", rail=f"rail {number}"))
        metrics.refused(f"code {number}", 400)
    found = series(metrics)
    releases = {match[1] for name in found if (match := re.search(r'release="([^"]+)"', name))}
    rails = {match[1] for name in found if (match := re.search(r'rail="([^"]+)"', name))}
    assert releases == {f"v{number}-x" for number in range(190, 200)}
    assert rails == {"other"}  # those of the releases that are kept came after the first thirty
    assert {name for name in found if "reason=" in name and "_total" in name} == {
        'opswright_refused_total{reason="other",status="400"}'
    }


def test_every_error_is_counted_by_its_code_also_before_anything_is_routed(house: House) -> None:
    house.rollout().deploy(house.bundle("one"), None, 100)
    house.chat("hello", model="nobody")
    house.chat("hello", messages=[])
    house.get("/v1/models", {"host": "evil.example"})
    house.get("/nothing")
    house.keys.create("ada")
    house.chat("hello", {"authorization": "Bearer guess"})
    found = series(house.controller.metrics)
    seen = {name for name in found if name.startswith("opswright_refused_total")}
    assert seen == {
        f'opswright_refused_total{{reason="{reason}",status="{status}"}}'
        for reason, status in (
            ("model_not_found", 404),
            ("bad_request", 400),
            ("wrong_host", 403),
            ("unknown_url", 404),
            ("invalid_api_key", 401),
        )
    }


def test_every_code_of_the_gateways_errors_is_a_reason_of_its_own() -> None:
    """A code that is not listed would be counted as `other`."""
    folder = Path(opswright.__file__).parent / "serving"
    source = "".join(path.read_text() for path in [*folder.glob("gateway/*.py"), *folder.glob("keys/*.py")])
    codes = set(re.findall(r'"(?:auth|invalid_request_error|server_error)", "(\w+)"', source))
    codes |= set(re.findall(r'(?:_refusal|RefusedError)\([^()]*?"(\w+)"[,)]', source))
    assert codes
    assert codes <= REASONS


def test_the_dashboard_is_whole_and_asks_only_for_what_is_exported() -> None:
    found = dashboard()
    ids = [panel["id"] for panel in found["panels"]]
    assert found["title"] and found["uid"] and len(set(ids)) == len(ids) > 8
    asked = {name for expr in expressions() for name in NAME.findall(expr)}
    assert asked <= exported()
    places = [tuple(panel["gridPos"][side] for side in "xy") for panel in found["panels"]]
    assert len(set(places)) == len(places)
    rest = {name.rpartition("_")[0] for name in exported() - asked if not name.endswith(("_sum", "_count"))}
    assert rest == set()  # nothing is exported that nobody sees


def test_alerts_ask_only_for_what_is_exported() -> None:
    rules = (MONITORING / "alerts.yml").read_text()
    assert set(NAME.findall(rules)) <= exported()


@pytest.fixture(scope="session")
def prometheus() -> str:
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        pytest.skip("not run: prometheus missing (apt-get install prometheus)")
    return "prometheus"


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.e2e
@pytest.mark.usefixtures("prometheus")
def test_promtool_accepts_the_rules_the_config_and_every_query_of_the_dashboard(tmp_path: Path) -> None:
    promtool("check", "rules", str(MONITORING / "alerts.yml"))
    promtool("check", "config", str(MONITORING / "prometheus.yml"))
    promtool("test", "rules", str(MONITORING / "alerts_test.yml"))
    rules = [{"record": f"q:{number}", "expr": expr} for number, expr in enumerate(expressions())]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "q", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(tmp_path / "queries.yml"))


class RealPrometheus:
    """A Prometheus of the test's own, and what it answers."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **params: str) -> Any:
        reply = httpx.get(f"{self.url}{path}", params=params, timeout=60, trust_env=False)
        assert reply.status_code == 200, reply.text
        return reply.json()["data"]

    def value(self, expr: str) -> float | None:
        """The sum of a query's results; None while it has none."""
        found = [float(one["value"][1]) for one in self.get("/api/v1/query", query=expr)["result"]]
        return sum(found) if found else None

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if holds():
                    return
            except httpx.HTTPError:  # it is starting
                pass
            assert time.monotonic() < deadline, f"never: {what}"
            time.sleep(0.1)


@pytest.fixture
def watching(
    prometheus: str, house: House, free_port: Callable[[], int], tmp_path: Path
) -> Iterator[RealPrometheus]:
    """A real Prometheus that scrapes the house once a second, with a key of its own."""
    (tmp_path / "key").write_text(house.keys.create("prometheus", scopes=("metrics",)).text)
    port = free_port()
    options = [
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with house.on_a_socket() as address, (tmp_path / "prometheus.log").open("wb") as log:
        config = scraping(f"{address[0]}:{address[1]}", tmp_path / "key")
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))
        process = subprocess.Popen([prometheus, *options], stdout=log, stderr=log)
        try:
            yield RealPrometheus(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE_S)


def scraping(address: str, key: Path) -> dict[str, Any]:
    """A configuration like the example's, for one address and once a second."""
    job = {
        "job_name": "opswright",
        "authorization": {"credentials_file": str(key)},
        "static_configs": [{"targets": [address]}],
    }
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(MONITORING / "alerts.yml")],
        "scrape_configs": [job],
    }


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_a_real_prometheus_sees_every_figure_of_the_dashboard(house: House, watching: RealPrometheus) -> None:
    house.rollout().deploy(house.bundle("one"), house.guardrails(), 100)
    house.rollout().deploy(house.bundle("two"), house.guardrails(), 50)
    ada = {"authorization": f"Bearer {house.keys.create('ada').text}"}
    sent = 0

    def some_of_each() -> None:
        nonlocal sent
        for text in ("hello", "a bomb", "too long"):
            house.chat(text, ada, user=f"user {sent}")
            sent += 1
        house.chat("hello", ada, stream=True, user=f"user {sent}")
        house.chat("hello", {"authorization": "Bearer guess"})
        sent += 1

    def all_are_seen() -> bool:
        some_of_each()  # a rate needs a figure that grows between two looks
        unseen[:] = [expr for expr in shown if watching.value(expr) is None]
        return not unseen

    shown = [expr for expr in expressions() if "first_token" not in expr]  # with rails nothing is streamed
    unseen: list[str] = []
    watching.wait(lambda: watching.value('up{job="opswright"}') == 1, "it scrapes the gateway with its key")
    watching.wait(all_are_seen, f"every query of the dashboard has an answer, {unseen}")
    watching.wait(
        lambda: watching.value("sum(opswright_requests_total)") == sent, "every request is counted, once"
    )
    rules = watching.get("/api/v1/rules")["groups"][0]["rules"]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}  # unknown: not looked at yet
    assert [rule["lastError"] for rule in rules if rule.get("lastError")] == []


def test_what_a_successor_counts_on_from_is_what_was_told_last_however_long_a_file_takes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = WholeGateway(house.controller, Peers(house.workspace, GatewayWorker(0, 2)), supervisor=7)
    kept: list[Any] = []
    write = KeptMetrics.keep

    def keep(one: KeptMetrics, snapshot: Any) -> None:
        kept.append(snapshot)
        if len(kept) == 1:
            time.sleep(0.3)  # a disk that is busy
        write(one, snapshot)

    monkeypatch.setattr(KeptMetrics, "keep", keep)

    async def ask() -> None:
        first = asyncio.create_task(whole.own_metrics())
        await asyncio.sleep(0.1)
        house.controller.metrics.restarts.inc()
        await asyncio.gather(first, whole.own_metrics())

    house.run(ask())
    found = KeptMetrics(kept_metrics_path(house.workspace, 0), 7).read()
    samples = {name: value for name, _, value in found["opswright_server_restarts"]["samples"]}
    assert samples["opswright_server_restarts_total"] == 1
