"""Two workers of a gateway on a real Triton: changed, killed, stopped and ended while clients keep asking."""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import opswright
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.serving import processes
from opswright.serving.fleet import GatewayClient, stop_all
from opswright.serving.gateway.feedback import latest_feedback
from opswright.serving.gateway.peers import STATE_PATH
from opswright.serving.gateway.traffic_log import read
from opswright.serving.rollout import Rollout
from opswright.serving.status import status
from opswright.serving.supervisor import supervisor_record
from opswright.serving.workers import worker_records

from .asking import PATIENCE_S, Clients, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

FAULTY = Path(opswright.__file__).parent / "benchmarks" / "faulty_engine"
SERIES = "opswright_requests_total"


class Scene:
    """A workspace that two workers serve."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.rollout = Rollout(workspace, "shop", GatewayClient(workspace), timeout_s=PATIENCE_S)
        self._made = 0
        self.url = self.deploy().url

    def deploy(self, percent: int = 100, fault: str = "healthy") -> Any:
        self._made += 1
        made = importlib.import_module("faulty_engine").faulty_bundle(self.workspace, fault, self._made)
        return self.rollout.deploy(made, None, percent, ("hello",))

    def worker(self, number: int) -> dict[str, Any]:
        """The record of a worker, once it runs and answers."""
        found: dict[str, Any] = {}

        def is_there() -> bool:
            rows = [row for row in worker_records(self.workspace) if row["worker"] == number]
            found.update(rows[0] if rows else {})
            return bool(rows) and self.status_of(found) == 200

        wait_until(is_there, f"worker {number} runs")
        return found

    def status_of(self, record: dict[str, Any]) -> int:
        try:
            return self.own(record, STATE_PATH).status_code
        except httpx.HTTPError:
            return 0

    def own(self, record: dict[str, Any], path: str) -> httpx.Response:
        """What one worker says."""
        headers = {"x-opswright-control": record["control"]}
        url = f"http://127.0.0.1:{record['own_port']}{path}"
        return httpx.get(url, headers=headers, timeout=5, trust_env=False)

    def kill(self, number: int, how: signal.Signals = signal.SIGKILL) -> float:
        """Until another process answers in its place: seconds."""
        record = dict(self.worker(number))
        began = time.monotonic()
        os.kill(record["pid"], how)
        wait_until(
            lambda: any(
                row["worker"] == number and row["pid"] != record["pid"]
                for row in worker_records(self.workspace)
            ),
            f"worker {number} is back",
        )
        self.worker(number)
        return time.monotonic() - began

    def ask(self, text: str = "hello", url: str = "", **fields: Any) -> httpx.Response:
        said = {"role": "user", "content": text}
        body = {"model": "shop", "messages": [said], **fields}
        where = f"{url or self.url}/v1/chat/completions"
        return httpx.post(where, json=body, timeout=PATIENCE_S, trust_env=False)


def hello(number: int) -> dict[str, Any]:
    return {"model": "shop", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def scene(tmp_path: Path, triton_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.syspath_prepend(str(FAULTY))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAULTY), os.environ.get("PYTHONPATH", "")]))
    importlib.invalidate_caches()
    chosen = ServingSettings(
        gateway_port=0, triton_home=triton_home, start_timeout_s=240, workers=2, watchdog_s=8
    )
    workspace = Workspace(load_settings(home=tmp_path / "workspace", serving=chosen, actor="tester"))
    try:
        yield Scene(workspace)
    finally:
        stop_all(workspace)
        assert worker_records(workspace) == []
        assert not processes.with_argument(f"--home\0{workspace.root}")
        assert not processes.with_argument(f"--model-repository={workspace.root}")


def served_by(scene: Scene, before: dict[int, float]) -> dict[int, float]:
    """Requests that each worker answered since."""
    return {
        number: _counted(scene.own(scene.worker(number), "/-/worker/metrics").json()) - before.get(number, 0)
        for number in (0, 1)
    }


def _counted(snapshot: dict[str, Any]) -> float:
    rows = snapshot.get("opswright_requests", {"samples": []})["samples"]
    return float(sum(value for name, _, value in rows if name == SERIES))


def total(text: str) -> float:
    lines = (line for line in text.splitlines() if line.startswith(SERIES))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_both_workers_answer_and_every_change_is_made_in_both_with_no_request_failed(scene: Scene) -> None:
    with Clients(scene.url, hello, clients=4) as clients:
        clients.wait_for(100)
        before = served_by(scene, {})
        clients.wait_for(200)
        shares = served_by(scene, before)
        assert min(shares.values()) > 0.2 * sum(shares.values()), shares

        scene.deploy()
        canary = scene.deploy(percent=30).release.id
        states = [scene.own(scene.worker(number), STATE_PATH).json() for number in (0, 1)]
        assert states[0]["endpoints"]["shop"]["serial"] == states[1]["endpoints"]["shop"]["serial"]
        ports = [scene.worker(number)["own_port"] for number in (0, 1)]
        met = Counter(_release(scene, port, user) for user in range(12) for port in ports)
        assert met[canary] and all(
            _release(scene, ports[0], user) == _release(scene, ports[1], user) for user in range(12)
        )
        scene.rollout.rollback()
        assert all(_release(scene, port, user) != canary for user in range(12) for port in ports)
        scene.deploy(percent=30)
        scene.rollout.promote(("hello",) * 8)
        clients.wait_for(100)
    assert clients.failed == []
    assert len(read(scene.workspace, "shop")) == clients.answered + 72


def _release(scene: Scene, port: int, user: int) -> str:
    reply = scene.ask(url=f"http://127.0.0.1:{port}", user=f"user {user}")
    assert reply.status_code == 200, reply.text
    return reply.headers["x-opswright-release"]


@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_worker_is_back_and_meanwhile_the_other_answers(scene: Scene, number: int) -> None:
    triton = processes.with_argument(f"--model-repository={scene.workspace.root}")
    with Clients(scene.url, hello, clients=4) as clients:
        clients.wait_for(50)
        told = total(httpx.get(f"{scene.url}/metrics", trust_env=False).text)
        assert told >= 50
        answered = clients.answered
        scene.kill(number)
        assert clients.answered > answered + 20  # by the other
        assert total(httpx.get(f"{scene.url}/metrics", trust_env=False).text) >= told
        clients.wait_for(50)
        scene.deploy()  # both do
        clients.wait_for(50)
    assert clients.failed == clients.broken and len(clients.broken) <= 4
    assert processes.with_argument(f"--model-repository={scene.workspace.root}") == triton
    assert [one["answers"] for one in status(scene.workspace)["gateway"]["workers"]] == [True, True]
    for one in (0, 1):  # whichever is asked
        port = scene.worker(one)["own_port"]
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        assert total(text) >= clients.answered - answered


def test_a_worker_that_is_stopped_is_replaced_and_a_change_waits_for_it(scene: Scene) -> None:
    victim = scene.worker(1)
    os.kill(victim["pid"], signal.SIGSTOP)
    told = status(scene.workspace)
    assert [one["answers"] for one in told["gateway"]["workers"]] == [True, False]
    assert f"gateway worker 1 (pid {victim['pid']}) hangs" in told["alarms"]
    for _ in range(20):  # new connections go to the one that answers
        assert scene.ask().status_code == 200
    changed = scene.deploy().release.id
    replaced = scene.worker(1)
    assert replaced["pid"] != victim["pid"] and processes.started_at(victim["pid"]) is None
    for number in (0, 1):
        assert _release(scene, scene.worker(number)["own_port"], 1) == changed


def test_feedback_joins_whichever_worker_answered(scene: Scene) -> None:
    ports = [scene.worker(number)["own_port"] for number in (0, 1)]
    answer = scene.ask(url=f"http://127.0.0.1:{ports[0]}").json()["id"]
    said = {"model": "shop", "id": answer, "thumb": "up"}
    reply = httpx.post(f"http://127.0.0.1:{ports[1]}/v1/feedback", json=said, trust_env=False)
    assert reply.status_code == 200, reply.text
    assert [one.thumb for one in latest_feedback(scene.workspace, "shop").values()] == ["up"]


def test_what_is_being_answered_by_either_is_answered_before_all_end(scene: Scene) -> None:
    scene.deploy(fault="+300 ms")
    supervisor = supervisor_record(scene.workspace)
    assert supervisor is not None
    ports = [scene.worker(number)["own_port"] for number in (0, 1)]
    with ThreadPoolExecutor(16) as pool:
        asked = [
            pool.submit(scene.ask, "question", f"http://127.0.0.1:{port}") for port in ports for _ in range(8)
        ]
        wait_until(lambda: _in_flight(scene) + sum(one.done() for one in asked) >= 16, "all have come in")
        os.kill(supervisor["pid"], signal.SIGTERM)
        assert [one.result().status_code for one in asked] == [200] * 16
    wait_until(lambda: supervisor_record(scene.workspace) is None, "they end")
    assert scene.rollout.fleet.start()  # and begin again


def _in_flight(scene: Scene) -> int:
    state = GatewayClient(scene.workspace).state()
    return int(sum(row["in_flight"] for row in state["endpoints"]["shop"]["releases"].values()))


def test_a_follower_that_is_left_alone_is_replaced_by_a_whole_gateway(scene: Scene) -> None:
    supervisor = supervisor_record(scene.workspace)
    assert supervisor is not None
    left, first = scene.worker(1), scene.worker(0)
    for pid in (supervisor["pid"], first["pid"]):
        os.kill(pid, signal.SIGKILL)
    assert scene.ask().status_code == 200  # it goes on by itself
    scene.rollout.fleet.start()
    assert scene.worker(0)["pid"] != first["pid"] and scene.worker(1)["pid"] != left["pid"]
    assert scene.ask(url=scene.rollout.fleet.start()).status_code == 200
