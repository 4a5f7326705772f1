"""Watches canaries from the moment they are out, and withdraws a bad one by itself.

It runs beside the gateway, in a thread of its own. What it withdraws is seen to be gone, by who answers, and
is recorded in the ledger. It never gives anybody more: promotion is a step of a plan.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ...core.errors import OpswrightError
from ...core.gate import Check
from ...core.principal import Principal
from ...core.workspace import Workspace
from ...record.endpoint_history import WATCH_SKILL, withdrew
from ...record.ledger import Ledger, Phase
from ...record.scan import LedgerScan
from ..releases import CanaryLimits, Change, EndpointState, endpoint_names, read_state
from ..rollout import Rollout
from .judgement import Bars, faults
from .reader import CanaryReader

log = logging.getLogger(__name__)

_LOOK_S = 1.0
_RETRY_S = 30.0  # after a withdrawal that did not take
KEY = "canary-watch"  # of the changes it makes
_ACTOR = Principal("canary-watch", (), "the gateway of this workspace")


class CanaryWatch:
    """Looks at every canary of a workspace."""

    def __init__(self, workspace: Workspace, rollout: Callable[[str], Rollout]) -> None:
        self.workspace = workspace
        self._rollout = rollout
        self._readers: dict[str, CanaryReader] = {}  # by endpoint
        self._recorded: dict[str, str] = {}  # endpoint to the last withdrawal that is in the ledger
        self._not_before: dict[str, float] = {}  # canary to when withdrawing it may be tried again
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canary-watch", daemon=True)

    def start(self) -> None:
        """Look once a second from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; returns when a look that is being made is over, or has taken long."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            for name in endpoint_names(self.workspace):
                try:
                    self.look(name)
                except OpswrightError as error:
                    log.warning("canary of %s: %s", name, error)
                except Exception:
                    log.exception("the watch met an error of its own at %s and goes on", name)

    def look(self, endpoint: str) -> list[Check]:
        """What is held against an endpoint's canary by now; one with anything is withdrawn."""
        state = read_state(self.workspace, endpoint)
        self._record_withdrawal(state)
        if state.canary is None or state.limits is None or state.stable is None:
            self._readers.pop(endpoint, None)
            return []
        bad = faults(self._reader(state, state.limits).update(), bars_of(state.limits))
        canary = state.canary.id
        if bad and time.monotonic() >= self._not_before.get(canary, 0.0):
            self._not_before[canary] = time.monotonic() + _RETRY_S  # it may fail: stable may be down too
            reason = "; ".join(f"{row.name}: {row.message}" for row in bad)
            log.warning("canary %s of %s is withdrawn: %s", canary, endpoint, reason)
            self._rollout(endpoint).withdraw(canary, KEY, reason)
            self._record_withdrawal(read_state(self.workspace, endpoint), bad)
        return bad

    def _reader(self, state: EndpointState, limits: CanaryLimits) -> CanaryReader:
        reader = self._readers.get(state.endpoint)
        if reader is None or state.canary is None or reader.canary != state.canary.id:
            reader = self._readers[state.endpoint] = CanaryReader(self.workspace, state, limits.max_slower)
        return reader

    def _record_withdrawal(self, state: EndpointState, rows: list[Check] | None = None) -> None:
        """Put the last withdrawal into the ledger, also one that a killed gateway did not come to record."""
        change = next((one for one in reversed(state.changes) if is_of_watch(one)), None)
        if change is None or self._recorded.get(state.endpoint) == change.release:
            return
        ledger = Ledger.of(self.workspace)
        known = LedgerScan(ledger).of_endpoint(state.endpoint)
        if not any(withdrew(one) and one.detail["result"]["canary"] == change.release for one in known):
            result = {
                "endpoint": state.endpoint,
                "release": change.stable,
                "canary": change.release,
                "canary_now": "withdrawn",
                "at": change.at,
                "reason": change.message,
                "rows": [row.model_dump(mode="json") for row in rows or ()],
            }
            ledger.append(Phase.DONE, principal=_ACTOR, skill=WATCH_SKILL, effect="serves", result=result)
        self._recorded[state.endpoint] = change.release


def is_of_watch(change: Change) -> bool:
    """Whether a change of an endpoint was made by the watch."""
    return change.what == "withdrawn" and change.key == KEY


def bars_of(limits: CanaryLimits) -> Bars:
    """The limits that a canary was deployed with, as it is judged by."""
    return Bars(
        max_error_share=limits.max_error_share,
        max_slower=limits.max_slower,
        alpha=limits.alpha,
        max_disagreement=limits.max_disagreement,
    )
