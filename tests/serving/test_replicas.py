"""Several replicas: a release counts when all of them have proven it, and half of them is an alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from opswright.core.errors import BackendError
from opswright.serving.fleet import ProbeReply
from opswright.serving.probes import Probe
from opswright.serving.releases import read_state
from opswright.serving.rollout import Rollout
from opswright.serving.status import status

if TYPE_CHECKING:
    from tests.serving.conftest import House

WHY = "it answers as v0-old, not as this"
LACKING = {"http://b:8000": WHY}


def impatient(house: House) -> Rollout:
    """A rollout that waits for a replica for a second."""
    return Rollout(house.workspace, "support", house.rollout().fleet, timeout_s=1)


class LosesAReplica:
    """A fleet that loses a replica once it was asked as users ask, by a session."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._fleet = house.rollout().fleet
        self.start, self.facts, self.life = self._fleet.start, self._fleet.facts, self._fleet.life

    def ask(self, endpoint: str, asked: str | Probe, *, session: str = "", **wishes: Any) -> ProbeReply:
        reply = self._fleet.ask(endpoint, asked, session=session, **wishes)
        if session:
            self._house.server.lacking = dict(LACKING)
        return reply


def test_a_deploy_that_one_replica_does_not_prove_is_taken_back(served: House) -> None:
    before = read_state(served.workspace, "support")
    served.server.lacking = dict(LACKING)
    with pytest.raises(BackendError):
        impatient(served).deploy(served.bundle("two"), None, 100)
    after = read_state(served.workspace, "support")
    assert (after.stable, after.candidate) == (before.stable, None)
    assert "http://b:8000: it answers as v0-old" in after.changes[-1].message


def test_a_canary_that_one_replica_lost_is_not_promoted_and_can_be_withdrawn(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 10)
    served.server.lacking = dict(LACKING)
    with pytest.raises(BackendError):
        impatient(served).promote()
    assert read_state(served.workspace, "support").canary is not None
    served.rollout().rollback()
    assert read_state(served.workspace, "support").canary is None


def test_what_was_served_before_comes_back_on_the_replicas_there_are(served: House) -> None:
    first = read_state(served.workspace, "support").stable
    served.rollout().deploy(served.bundle("two"), None, 100)
    served.server.lacking = dict(LACKING)
    assert served.rollout().rollback().state.stable == first


def test_a_replica_that_is_lost_between_the_proof_and_the_switch_is_noticed(served: House) -> None:
    before = read_state(served.workspace, "support").stable
    rollout = Rollout(served.workspace, "support", LosesAReplica(served), timeout_s=1)
    with pytest.raises(BackendError):
        rollout.deploy(served.bundle("two"), None, 100)
    assert read_state(served.workspace, "support").stable == before


def test_half_a_fleet_is_an_alarm_in_state_metrics_and_status(
    served: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = read_state(served.workspace, "support").stable
    assert release is not None
    series = f'opswright_replicas_missing{{endpoint="support",release="{release.id}"}}'
    assert f"{series} 0.0" in served.get("/metrics").text
    served.server.lacking = dict(LACKING)
    assert f"{series} 1.0" in served.get("/metrics").text
    fleet, record = served.rollout().fleet, {"pid": 1, "host": "", "port": 1}
    monkeypatch.setattr("opswright.serving.status.gateway_record", lambda workspace: record)
    monkeypatch.setattr("opswright.serving.status.GatewayClient", lambda workspace: fleet)
    (alarm,) = status(served.workspace)["alarms"]
    assert alarm == f"support: release {release.id} is not served by http://b:8000: {WHY}"


def test_a_server_that_does_not_run_is_an_alarm(served: House, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, record = served.rollout().fleet, {"pid": 1, "host": "", "port": 1}
    monkeypatch.setattr("opswright.serving.status.gateway_record", lambda workspace: record)
    monkeypatch.setattr("opswright.serving.status.GatewayClient", lambda workspace: fleet)
    assert status(served.workspace)["alarms"] == []
    served.controller.server_fault = "none of the Triton servers answers"
    assert "none of the Triton servers answers" in status(served.workspace)["alarms"][0]
