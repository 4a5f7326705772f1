"""What users notice of changes behind them: requests through each change, and memory over all of them.

Serves a small model of no weights on a real Triton behind the gateway and its rails, while clients keep
asking, a session each. Each phase asks `--requests` and makes its change again and again until they are
answered. Then 500 malformed requests, and `--total` good ones, with the memory of gateway and Triton after
each tenth. 2 cores: about 15 minutes; --quick: one.

A request that was being answered when the gateway was killed is counted as in flight. One that met nobody,
or a 503, is asked again after 20 ms and counted as waited, as a client that retries would.

    python benchmarks/endurance.py [--requests 10000] [--total 100000] [--workers 1] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

FAULTY = Path(__file__).resolve().parent / "faulty_engine"
sys.path.insert(0, str(FAULTY))
os.environ["PYTHONPATH"] = os.pathsep.join([str(FAULTY), os.environ.get("PYTHONPATH", "")])

import aiohttp  # noqa: E402  (the engine's folder is put on the path above)
import psutil  # noqa: E402
from faulty_engine import faulty_bundle  # noqa: E402

from opswright.core.artifact_refs import BundleRef, GuardrailRef  # noqa: E402
from opswright.core.errors import BackendError  # noqa: E402
from opswright.core.settings import load_settings  # noqa: E402
from opswright.core.settings.serving import ServingSettings  # noqa: E402
from opswright.core.workspace import Workspace  # noqa: E402
from opswright.serving.fleet import GatewayClient, stop_all  # noqa: E402
from opswright.serving.rails import SHIPPED  # noqa: E402
from opswright.serving.rollout import Rollout  # noqa: E402
from opswright.serving.server_selection import serving_folder  # noqa: E402
from opswright.serving.workers import worker_records  # noqa: E402

ENDPOINT = "shop"
CLIENTS = 8
_AGAIN_S = 0.02
_PATIENCE_S = 120.0
_TENTHS = 10
MALFORMED = (
    b"",
    b"null",
    b"[" * 5000,
    b"\xff\xfe",
    b'{"model": "shop"}',
    b'{"model": "shop", "messages": []}',
    b'{"model": "shop", "messages": [{"role": "user"}]}',
    b'{"model": "shop", "messages": [{"role": "nobody", "content": "x"}]}',
    b'{"model": "shop", "messages": [{"role": "user", "content": 7}]}',
    b'{"model": "shop", "messages": [{"role": "user", "content": "x"}], "temperature": "hot"}',
    b'{"model": "shop", "messages": [{"role": "user", "content": "x"}], "n": -1}',
    b'{"model": "shop", "messages": [{"role": "user", "content": "x"}], "nonsense": 1}',
)


@dataclass
class Phase:
    """What requests met during one kind of change. waited: met nobody and were asked again."""

    name: str
    requests: int = 0
    failed: int = 0
    in_flight: int = 0
    waited: int = 0
    changes: int = 0
    seconds: float = 0.0
    took_ms: list[float] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    longest_gap_s: float = 0.0

    def fault(self, what: str) -> None:
        """Count a request that failed."""
        self.failed += 1
        self.faults[what] = self.faults.get(what, 0) + 1


class House:
    """The endpoint under test."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.rollout = Rollout(workspace, ENDPOINT, GatewayClient(workspace))
        self.rails = self._rails()
        self._made = self._kills = 0
        self.url = self.rollout.deploy(self.bundle(), self.rails, 100, ("hello",)).url

    def bundle(self) -> BundleRef:
        """A healthy bundle that is not yet known."""
        self._made += 1
        return faulty_bundle(self.workspace, "healthy", self._made)

    def _rails(self) -> GuardrailRef:
        with self.workspace.artifacts.staging() as stage:
            shutil.copytree(SHIPPED / "config", stage / "config")
            return self.workspace.artifacts.save(GuardrailRef, stage, {})

    def workers(self) -> list[psutil.Process]:
        """The gateway's processes."""
        return [psutil.Process(int(record["pid"])) for record in worker_records(self.workspace)]

    def megabytes(self) -> tuple[float, float]:
        """Resident memory of the gateway's workers, and of Triton with its stubs."""
        record = json.loads((serving_folder(self.workspace) / "triton" / "server.json").read_text())
        return sum(map(_megabytes, self.workers())), _megabytes(psutil.Process(int(record["pid"])))

    def update(self) -> None:
        """Another release for everybody."""
        self.rollout.deploy(self.bundle(), self.rails, 100, ("hello",))

    def canary(self) -> None:
        """A canary at 10 %, and away again."""
        self.rollout.deploy(self.bundle(), self.rails, 10, ("hello",))
        self.rollout.rollback()

    def promoted(self) -> None:
        """A canary at 10 %, then for everybody."""
        self.rollout.deploy(self.bundle(), self.rails, 10, ("hello",))
        self.rollout.promote(("hello",) * 8)

    def other_rails(self) -> None:
        """The release that is live, without its rails, then with them."""
        live = self.bundle()
        self.rollout.deploy(live, None, 100, ("hello",))
        self.rollout.deploy(live, self.rails, 100, ("hello",))

    def kill(self) -> None:
        """A worker ends at once, each in its turn, and its supervisor or the next call starts it again."""
        workers = self.workers()
        workers[self._kills % len(workers)].kill()
        self._kills += 1
        time.sleep(0.2)
        GatewayClient(self.workspace).start()
        deadline = time.monotonic() + _PATIENCE_S
        while not self._all_answer() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(3)

    def _all_answer(self) -> bool:
        """Whether every worker does."""
        try:
            state = GatewayClient(self.workspace).state()
            return all(one["answers"] for one in state["workers"])
        except BackendError:
            return False


def _megabytes(process: psutil.Process) -> float:
    family = [process, *process.children(recursive=True)]
    return sum(one.memory_info().rss for one in family) / 1e6


async def ask(url: str, phase: Phase, requests: int, over: threading.Event) -> None:
    """Closed loop: each client asks again once it was answered; each request is a session of its own."""
    numbers = iter(range(requests))
    last_answer = time.monotonic()

    async def client(http: aiohttp.ClientSession) -> None:
        nonlocal last_answer
        for number in numbers:
            began = time.monotonic()
            body = {"model": ENDPOINT, "messages": [{"role": "user", "content": f"question {number % 200}"}]}
            status = await _answered(http, f"{url}/v1/chat/completions", body, phase)
            now = time.monotonic()
            phase.requests += 1
            phase.took_ms.append((now - began) * 1000)
            if status == 200:
                phase.longest_gap_s = max(phase.longest_gap_s, now - last_answer)
                last_answer = now
            elif status:
                phase.fault(f"status {status}")

    try:
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            await asyncio.gather(*(client(http) for _ in range(CLIENTS)))
    finally:
        over.set()


async def _answered(http: aiohttp.ClientSession, url: str, body: object, phase: Phase) -> int:
    """The status of a request's answer; 0 for one that was in flight when its connection broke."""
    is_waiting = False
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            async with http.post(url, json=body) as reply:
                await reply.read()
            if reply.status != 503 or time.monotonic() > deadline:
                return reply.status
        except aiohttp.ClientConnectorError:
            if time.monotonic() > deadline:
                return 599
        except aiohttp.ClientError:
            phase.in_flight += 1
            return 0
        phase.waited += not is_waiting
        is_waiting = True
        await asyncio.sleep(_AGAIN_S)


def run_phase(house: House, name: str, change: Callable[[], None] | None, requests: int) -> Phase:
    """So many requests while a change is made again and again."""
    phase, over = Phase(name), threading.Event()
    began = time.monotonic()
    asking = threading.Thread(target=lambda: asyncio.run(ask(house.url, phase, requests, over)))
    asking.start()
    try:
        while change is not None and not over.wait(0.3):
            change()
            phase.changes += 1
    finally:
        asking.join()
    phase.seconds = time.monotonic() - began
    print(f"  {_line(phase)}", file=sys.stderr)
    return phase


async def malformed(url: str, count: int) -> dict[int, int]:
    """How many malformed requests met which status."""
    found: dict[int, int] = {}
    async with aiohttp.ClientSession() as http:
        for number in range(count):
            body = MALFORMED[number % len(MALFORMED)]
            async with http.post(f"{url}/v1/chat/completions", data=body) as reply:
                await reply.read()
                found[reply.status] = found.get(reply.status, 0) + 1
    return found


def _line(phase: Phase) -> str:
    took = sorted(phase.took_ms)
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    return (
        f"| {phase.name} | {phase.changes} | {phase.requests:,} | {phase.failed} | {phase.in_flight} | "
        f"{phase.waited} | {phase.longest_gap_s:.1f} | {p50:.0f} | {p99:.0f} | {phase.faults or ''} |"
    )


@contextmanager
def house(workers: int) -> Iterator[House]:
    """A workspace of its own, and its servers while they are needed."""
    with tempfile.TemporaryDirectory(prefix="opswright-endurance-") as name:
        home = os.environ.get("OPSWRIGHT_SERVING__TRITON_HOME")
        settings = ServingSettings(gateway_port=0, triton_home=Path(home) if home else None, workers=workers)
        workspace = Workspace(load_settings(home=Path(name) / "workspace", serving=settings))
        try:
            yield House(workspace)
        finally:
            stop_all(workspace)


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="Requests through each kind of change.")
    parser.add_argument("--total", type=int, default=100_000, help="Requests that memory is looked at over.")
    parser.add_argument("--workers", type=int, default=1, help="Processes of the gateway.")
    parser.add_argument("--quick", action="store_true", help="A twentieth of both.")
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")
    options = parser.parse_args()
    share = 20 if options.quick else 1
    with house(options.workers) as served:
        changes = {
            "nothing": None,
            "rolling update": served.update,
            "canary and withdrawal": served.canary,
            "canary and promotion": served.promoted,
            "other rails": served.other_rails,
            "gateway killed": served.kill,
        }
        phases = [
            run_phase(served, name, change, options.requests // share) for name, change in changes.items()
        ]
        statuses = asyncio.run(malformed(served.url, 500))
        memory = [served.megabytes()]
        for tenth in range(_TENTHS):
            run_phase(served, f"tenth {tenth + 1}", None, options.total // share // _TENTHS)
            memory.append(served.megabytes())
    show(phases, statuses, memory, as_json=options.json)


def show(
    phases: list[Phase], statuses: dict[int, int], memory: list[tuple[float, float]], *, as_json: bool
) -> None:
    """What was met, as a table or one document."""
    if as_json:
        rows = [{name: value for name, value in asdict(one).items() if name != "took_ms"} for one in phases]
        print(json.dumps({"phases": rows, "malformed": statuses, "megabytes": memory}, indent=1))
        return
    print("| change | made | requests | failed | in flight | waited | longest gap s | p50 ms | p99 ms | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for phase in phases:
        print(_line(phase))
    print(f"\nmalformed, by status: {statuses}")
    for what, column in (("gateway", 0), ("Triton", 1)):
        print(f"{what}, MB: {' '.join(f'{row[column]:.0f}' for row in memory)}")


if __name__ == "__main__":
    main()
