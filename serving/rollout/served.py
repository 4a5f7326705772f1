"""Whether an endpoint serves what it should: waited for on its fleet, and seen by who answers."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...core.errors import BackendError
from ..fleet import Fleet, in_words
from ..probes import PROBES
from ..releases import EndpointState, Release
from . import comparison

_POLL_S = 0.03
_ASKS = 5  # sessions that must all meet the release that a change made stable
_FAULT_S = 15.0  # so long may an engine server fail to start


class ServedCheck:
    """Waits until an endpoint's fleet serves what it should, and asks as users do to see that it does."""

    def __init__(
        self,
        fleet: Fleet,
        endpoint: str,
        check: Callable[[], None],
        say: Callable[[str], None],
        timeout_s: float,
    ) -> None:
        self._fleet = fleet
        self._endpoint = endpoint
        self._check = check
        self._say = say
        self._timeout_s = timeout_s

    def wait_loaded(self, release: Release, *, is_everywhere: bool = False) -> None:
        """Until the release answers inferences; BackendError with the reason when it cannot be loaded.

        is_everywhere: until every replica of the server has proven that it serves it.
        """
        said = False
        began = time.monotonic()
        while True:
            life = self._fleet.life(self._endpoint)
            fault = life.releases.get(release.id, "")
            missing = life.missing.get(release.id, {}) if is_everywhere else {}
            if fault is None and not missing:
                return
            if fault:
                raise BackendError(f"release {release.id} was refused: {fault}")
            if any(missing.values()) and time.monotonic() > began + min(self._timeout_s, _FAULT_S):
                raise BackendError(f"release {release.id} is not served everywhere: {in_words(missing)}")
            if not said:
                self._say(f"loading release {release.id}")
                said = True
            patience_s = min(self._timeout_s, _FAULT_S) if life.server_fault else self._timeout_s
            why = f": {life.server_fault or in_words(missing)}".removesuffix(": ")
            message = f"release {release.id} did not load within {patience_s:.0f} s{why}"
            self._pause(began + patience_s, message)

    def wait_applied(self, state: EndpointState) -> None:
        """Return when traffic follows the state; BackendError when it does not in time."""
        deadline = time.monotonic() + self._timeout_s
        while self._fleet.life(self._endpoint).serial < state.serial:
            late = f"traffic of {self._endpoint} did not follow within {self._timeout_s:.0f} s"
            self._pause(deadline, late)

    def see_served(self, state: EndpointState, release: Release, route: str) -> None:
        """Ask as users do, and look at who says they answered."""
        if route == "canary":
            reply = self._fleet.ask(self._endpoint, PROBES[0], release=release.id, rails=False)
            fault = comparison.fault_of(reply, release.id)
            if fault or reply.route != "canary":
                raise BackendError(f"the canary {release.id} is not served: {fault or reply.route}")
            return
        for number in range(_ASKS):
            session = f"verify-{state.serial}-{number}"
            reply = self._fleet.ask(self._endpoint, PROBES[0], session=session, rails=False)
            if fault := comparison.fault_of(reply, release.id):
                raise BackendError(f"release {release.id} should be what users get, but {fault}")

    def _pause(self, deadline: float, message: str) -> None:
        self._check()
        if time.monotonic() > deadline:
            raise BackendError(message)
        time.sleep(_POLL_S)
