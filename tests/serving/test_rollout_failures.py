"""A rollout whose caller dies, or whose fleet does not do what it says, leaves users with what answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from opswright.core.errors import BackendError
from opswright.serving.fleet import EndpointLife, ProbeReply, ServerFacts
from opswright.serving.probes import Probe
from opswright.serving.releases import read_state
from opswright.serving.rollout import Rollout

from .test_rollout import who

if TYPE_CHECKING:
    from tests.serving.conftest import House


class Killed(BaseException):
    """The process ends here, with nothing cleaned up."""


class DyingFleet:
    """A fleet whose caller dies at its n-th call."""

    def __init__(self, fleet: Any, calls: int) -> None:
        self.fleet = fleet
        self.left = calls

    def _live(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed

    def start(self) -> str:
        self._live()
        return str(self.fleet.start())

    def facts(self) -> ServerFacts:
        self._live()
        return self.fleet.facts()  # type: ignore[no-any-return]

    def life(self, endpoint: str) -> EndpointLife:
        self._live()
        return self.fleet.life(endpoint)  # type: ignore[no-any-return]

    def ask(self, endpoint: str, asked: str | Probe, **wishes: Any) -> ProbeReply:
        self._live()
        return self.fleet.ask(endpoint, asked, **wishes)  # type: ignore[no-any-return]


def test_a_deployment_killed_anywhere_is_finished_by_the_same_call(served: House) -> None:
    """Kill the caller at every call it makes; after each, users are served, and the same call ends it."""
    fleet = served.rollout().fleet
    users = {"v1"}
    for calls in range(12):
        bundle = served.bundle(f"candidate {calls}")
        dying = Rollout(served.workspace, "support", DyingFleet(fleet, calls), timeout_s=120)
        try:
            dying.deploy(bundle, None, 100, probes=("hello",), key=f"run-{calls}")
        except Killed:
            last = read_state(served.workspace, "support").last_number
            assert who(served, sessions=2) <= users | {f"v{last}"}
        done = served.rollout().deploy(bundle, None, 100, probes=("hello",), key=f"run-{calls}")
        assert done.release.bundle == bundle
        users = who(served, sessions=2)
        assert users == {done.release.id.partition("-")[0]}
        deployed = [c for c in read_state(served.workspace, "support").changes if c.key == f"run-{calls}"]
        assert len(deployed) == 1


def test_a_candidate_that_a_crash_left_behind_is_dropped_by_the_next_deployment(served: House) -> None:
    dying = Rollout(served.workspace, "support", DyingFleet(served.rollout().fleet, 2), timeout_s=120)
    with pytest.raises(Killed):
        dying.deploy(served.bundle("left behind"), None, 100)
    assert read_state(served.workspace, "support").candidate is not None
    done = served.rollout().deploy(served.bundle("two"), None, 100)
    assert done.release.number == 3
    assert read_state(served.workspace, "support").candidate is None


class StuckFleet:
    """A fleet that loads and answers, but whose traffic never follows."""

    def __init__(self, fleet: Any, serial: int) -> None:
        self.fleet, self.serial = fleet, serial
        self.start, self.facts, self.ask = fleet.start, fleet.facts, fleet.ask

    def life(self, endpoint: str) -> EndpointLife:
        found = self.fleet.life(endpoint)
        return EndpointLife(min(found.serial, self.serial), found.releases)


def test_a_switch_that_is_not_seen_is_taken_back_and_not_reported_as_done(served: House) -> None:
    serial = read_state(served.workspace, "support").serial
    stuck = Rollout(served.workspace, "support", StuckFleet(served.rollout().fleet, serial), timeout_s=2)
    with pytest.raises(BackendError, match="did not follow"):
        stuck.deploy(served.bundle("two"), None, 100)
    state = read_state(served.workspace, "support")
    assert state.stable is not None and state.stable.number == 1
    assert state.changes[-1].what == "refused"


class FalseFleet:
    """A fleet that says yes to everything, and goes on serving what it served."""

    def __init__(self, release: str) -> None:
        self.release = release

    def start(self) -> str:
        return "http://nowhere"

    def facts(self) -> ServerFacts:
        return ServerFacts("fake", "1.0")

    def life(self, endpoint: str) -> EndpointLife:
        class Everything(dict[str, str | None]):
            def get(self, name: str, default: Any = None) -> None:
                return None

        return EndpointLife(10**9, Everything())

    def ask(
        self,
        endpoint: str,
        asked: str | Probe,
        *,
        release: str | None = None,
        session: str = "",
        rails: bool = True,
    ) -> ProbeReply:
        return ProbeReply(200, release or self.release, "stable", "yes", 1.0)


def test_a_rollback_is_believed_only_when_the_release_before_answers(served: House) -> None:
    bad = served.rollout().deploy(served.bundle("two"), None, 100).release
    with pytest.raises(BackendError, match=f"should be what users get, but release {bad.id} answered"):
        Rollout(served.workspace, "support", FalseFleet(bad.id), timeout_s=1).rollback()
    state = read_state(served.workspace, "support")
    assert state.stable is not None and state.stable.id == bad.id
