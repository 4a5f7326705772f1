"""Canaries on a real Triton behind a real gateway process: withdrawn with nobody there, or brought to all."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import opswright
from opswright.core.contract import StepContext
from opswright.core.gate import Decision
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.record.endpoint_history import WATCH_SKILL
from opswright.record.ledger import Ledger
from opswright.serving.fleet import GatewayClient, stop_all
from opswright.serving.releases import CanaryLimits, read_state
from opswright.serving.rollout import Rollout
from opswright.skills.roll_out import RollOutRequest, roll_out

from .asking import PATIENCE_S, Clients, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

FAULTY = Path(opswright.__file__).parent / "benchmarks" / "faulty_engine"


@pytest.fixture
def workspace(tmp_path: Path, triton_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.syspath_prepend(str(FAULTY))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAULTY), os.environ.get("PYTHONPATH", "")]))
    importlib.invalidate_caches()
    chosen = ServingSettings(gateway_port=0, triton_home=triton_home, start_timeout_s=240)
    found = Workspace(load_settings(home=tmp_path / "workspace", serving=chosen, actor="tester"))
    yield found
    stop_all(found)


def bundle(workspace: Workspace, fault: str, seed: int) -> Any:
    return importlib.import_module("faulty_engine").faulty_bundle(workspace, fault, seed)


def question(number: int) -> dict[str, Any]:
    return {"model": "shop", "messages": [{"role": "user", "content": f"question {number % 50}"}]}


def recorded(workspace: Workspace) -> list[str]:
    """The canaries that the ledger says the watch withdrew."""
    found = (one for one in Ledger.of(workspace).records() if one.skill == WATCH_SKILL)
    return [one.detail["result"]["canary"] for one in found]


def test_a_canary_with_wrong_answers_is_withdrawn_while_nobody_looks(workspace: Workspace) -> None:
    rollout = Rollout(workspace, "shop", GatewayClient(workspace), timeout_s=PATIENCE_S)
    live = rollout.deploy(bundle(workspace, "healthy", 1), None, 100, ("hello",))
    with Clients(live.url, question) as clients:
        canary = rollout.deploy(
            bundle(workspace, "wrong answers", 2),
            None,
            30,
            ("hello",),
            shadow_percent=50,
            limits=CanaryLimits(max_slower=100),
        ).release.id
        wait_until(lambda: read_state(workspace, "shop").canary is None, "it was withdrawn")
        wait_until(lambda: bool(recorded(workspace)), "that was recorded")
    assert clients.failed == []
    change = read_state(workspace, "shop").changes[-1]
    assert (change.what, change.release, change.stable) == ("withdrawn", canary, live.release.id)
    assert "answers differ from stable's" in change.message
    assert recorded(workspace) == [canary]
    reply = rollout.fleet.ask("shop", "question 1", session="anybody")
    assert reply.release == live.release.id and reply.text.startswith("label")


def test_a_healthy_bundle_is_rolled_out_from_shadow_to_everybody(workspace: Workspace) -> None:
    rollout = Rollout(workspace, "shop", GatewayClient(workspace), timeout_s=PATIENCE_S)
    live = rollout.deploy(bundle(workspace, "healthy", 1), None, 100, ("hello",))
    workdir = workspace.run_folder("run") / "1"
    workdir.mkdir(parents=True)
    ask = RollOutRequest(
        bundle=bundle(workspace, "healthy", 2), endpoint="shop", stages=(0, 30), max_slower=100
    )
    with Clients(live.url, question) as clients:
        done = roll_out(ask, StepContext(workspace, "run", "1", "run-1", workdir))
    assert clients.failed == []
    assert (done.canary_now, done.promoted, done.verdict.decision) == ("stable", True, Decision.GO)
    assert rollout.fleet.ask("shop", "question 1", session="anybody").release == done.release
    shares = [one.canary_percent for one in read_state(workspace, "shop").changes if one.what == "canary"]
    assert shares == [0, 30]
