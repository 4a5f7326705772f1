"""Bad canaries on a real Triton: each fault injected, watched by the gateway, until it is withdrawn.

Ships a healthy stable release behind the shipped rails, then one canary after another at a share of the
sessions, while clients keep asking, a session each. Says what became of each, after how many requests, and
what users got meanwhile. 2 cores: about three minutes.

    python benchmarks/rollout_real.py [--share 50] [--requests 3000] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

FAULTY = Path(__file__).resolve().parent / "faulty_engine"
sys.path.insert(0, str(FAULTY))
os.environ["PYTHONPATH"] = os.pathsep.join([str(FAULTY), os.environ.get("PYTHONPATH", "")])

from faulty_engine import FAULTS, faulty_bundle  # noqa: E402  (its folder is put on the path above)

from opswright.core.artifact_refs import GuardrailRef  # noqa: E402
from opswright.core.errors import OpswrightError  # noqa: E402
from opswright.core.settings import load_settings  # noqa: E402
from opswright.core.settings.serving import ServingSettings  # noqa: E402
from opswright.core.workspace import Workspace  # noqa: E402
from opswright.serving.fleet import GatewayClient, stop_all  # noqa: E402
from opswright.serving.gateway.traffic_log import read  # noqa: E402
from opswright.serving.rails import SHIPPED  # noqa: E402
from opswright.serving.releases import CanaryLimits, read_state  # noqa: E402
from opswright.serving.rollout import Rollout  # noqa: E402

if TYPE_CHECKING:
    from opswright.core.artifact_refs import BundleRef

ENDPOINT = "shop"
CLIENTS = 4


@dataclass(frozen=True)
class Row:
    """What became of one canary: requests of both releases while it was out, and its own among them."""

    fault: str
    became: str
    requests: int
    own: int
    seconds: float
    reason: str


class Clients:
    """Clients that keep asking, each request as a session of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> Clients:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End, once the last answers came."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, client: int) -> None:
        import httpx

        number = 0
        with httpx.Client(timeout=60, trust_env=False) as http:
            while not self._stop.is_set():
                text = f"question {number % 200}"
                body = {"model": ENDPOINT, "messages": [{"role": "user", "content": text}]}
                http.post(f"{self.url}/v1/chat/completions", json=body)
                number += 1


def watch(workspace: Workspace, rollout: Rollout, bundle: BundleRef, fault: str, options: Options) -> Row:
    """One canary, until it is withdrawn or met so many requests."""
    began = time.monotonic()
    try:
        done = rollout.deploy(
            bundle, options.rails, options.share, ("hello",), limits=CanaryLimits(), shadow_percent=10
        )
    except OpswrightError as error:
        return Row(fault, "refused at deployment", 0, 0, time.monotonic() - began, str(error).splitlines()[0])
    out = read_state(workspace, ENDPOINT).changes[-1].at
    with Clients(done.url):
        while True:
            state = read_state(workspace, ENDPOINT)
            if state.canary is None:
                break
            if len(read(workspace, ENDPOINT, after=out)) > options.requests:
                rollout.rollback()
                break
            time.sleep(0.2)
    change = read_state(workspace, ENDPOINT).changes[-1]
    rows = [row for row in read(workspace, ENDPOINT, after=out) if row.time <= change.at]
    own = sum(row.release == done.release.id for row in rows)
    became = "withdrawn" if change.key else "stayed"
    return Row(fault, became, len(rows), own, time.monotonic() - began, change.message)


@dataclass(frozen=True)
class Options:
    """Percent of sessions, requests after which a canary stays, and the rails of all releases."""

    share: int
    requests: int
    rails: GuardrailRef


def main() -> None:
    """Ship, inject and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--share", type=int, default=50, help="Percent of sessions that canaries get.")
    parser.add_argument("--requests", type=int, default=3000, help="After so many, a canary stays.")
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="opswright-rollout-") as name:
        home = os.environ.get("OPSWRIGHT_SERVING__TRITON_HOME")
        settings = ServingSettings(gateway_port=0, triton_home=Path(home) if home else None)
        workspace = Workspace(load_settings(home=Path(name) / "workspace", serving=settings))
        try:
            rows = inject(workspace, given.share, given.requests)
        finally:
            stop_all(workspace)
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    print("| canary | became | requests | its own | seconds | because |\n|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.fault} | {row.became} | {row.requests} | {row.own} | {row.seconds:.1f} | {row.reason} |"
        )


def inject(workspace: Workspace, share: int, requests: int) -> list[Row]:
    """Every fault in turn, beside one healthy stable release."""
    import shutil

    with workspace.artifacts.staging() as stage:
        shutil.copytree(SHIPPED / "config", stage / "config")
        rails = workspace.artifacts.save(GuardrailRef, stage, {})
    rollout = Rollout(workspace, ENDPOINT, GatewayClient(workspace))
    live = rollout.deploy(faulty_bundle(workspace, "healthy", 0), rails, 100, ("hello",))
    with Clients(live.url):
        while len(read(workspace, ENDPOINT)) < 300:
            time.sleep(0.2)
    options, rows = Options(share, requests, rails), []
    for number, fault in enumerate(FAULTS, 1):
        rows.append(watch(workspace, rollout, faulty_bundle(workspace, fault, number), fault, options))
        print(f"  {rows[-1]}", file=sys.stderr)
    return rows


if __name__ == "__main__":
    main()
