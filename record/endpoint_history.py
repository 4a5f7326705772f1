"""What an endpoint serves according to the records of deploy, promote and rollback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.contract import Effect
from .ledger import Phase, Record
from .run_state import FINISHED
from .scan import LedgerScan

WATCH_SKILL = "canary-watch"  # of the records that say that a bad canary was withdrawn; they belong to no run

_INTENT = str(Phase.INTENT)
_CALLS = FINISHED | {Phase.INTENT}
Parts = tuple[str | None, str | None]  # bundle and guardrails


@dataclass
class EndpointHistory:
    """What the records of deploy, promote and rollback make of one endpoint."""

    releases: dict[str, Parts] = field(default_factory=dict)  # every release that a record made
    stable: str | None = None
    canary: str | None = None
    percent: int = 0
    seq: int = 0  # the last record that changed it
    was_stable: set[str] = field(default_factory=set)  # what a rollback may bring back
    taken_back_to: list[tuple[int, str]] = field(default_factory=list)  # by records, what never was stable
    withdrawn: set[str] = field(default_factory=set)  # canaries, maybe before the call that made them ended
    unfinished: dict[tuple[str | None, str | None], Record] = field(default_factory=dict)

    @property
    def canary_bundle(self) -> str | None:
        """What the canary is made of."""
        return self.releases[self.canary][0] if self.canary in self.releases else None

    def take(self, record: Record, request: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Take in a call that changes the endpoint: begun, or finished."""
        if record.phase == _INTENT:
            self.unfinished[record.run, record.step] = record
            return
        if record.run is not None:
            self.unfinished.clear()  # who finished held the endpoint's lock, and went on from what was there
        release = result.get("release")
        if not isinstance(release, str):
            return
        self.seq = record.seq
        if "canary_now" in result:
            self._made(result.get("canary"), request)
            self._promoted(release, result)
        elif result.get("rolled_back"):
            if release not in self.was_stable:
                self.taken_back_to.append((record.seq, release))
            self.releases.setdefault(release, (result.get("bundle"), None))
            self.stable, self.canary, self.percent = release, None, 0
        else:
            self._deployed(release, request, result)
        if self.stable is not None and not result.get("rolled_back"):
            self.was_stable.add(self.stable)

    def _deployed(self, release: str, request: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        self._made(release, request)
        if result.get("route") == "canary" and release in self.withdrawn:
            return
        if result.get("route") == "canary":
            self.canary, self.percent = release, int(result.get("canary_percent", 0))
        elif self.stable != release:
            self.stable, self.canary, self.percent = release, None, 0

    def _made(self, release: object, request: Mapping[str, Any]) -> None:
        """Note what a release is made of, where the call that made it says so."""
        if isinstance(release, str) and isinstance(bundle := request.get("bundle"), str):
            self.releases.setdefault(release, (bundle, request.get("guardrails")))

    def _promoted(self, stable: str, result: Mapping[str, Any]) -> None:
        if result["canary_now"] == "stable":
            self.stable = stable
        if result["canary_now"] == "canary" and "canary_percent" in result:
            self.canary, self.percent = str(result["canary"]), int(result["canary_percent"])
        if result["canary_now"] == "withdrawn":
            self.withdrawn.add(str(result.get("canary")))
        if result["canary_now"] != "canary":
            self.canary, self.percent = None, 0


def withdrew(record: Record) -> bool:
    """Whether a record says that the watch withdrew a canary, and nothing else."""
    result = record.detail.get("result")
    if record.skill != WATCH_SKILL or record.phase != Phase.DONE or not isinstance(result, Mapping):
        return False
    return isinstance(result.get("endpoint"), str) and result.get("canary_now") == "withdrawn"


def history_of(scan: LedgerScan, endpoint: str) -> EndpointHistory:
    """What the ledger says of an endpoint, read line by line; IntegrityError when such a line is damaged."""
    found = EndpointHistory()
    naming = scan.of_endpoint(endpoint)
    named = [record.run for record in naming if record.run is not None]
    watched = [one for one in naming if one.run is None and withdrew(one)]
    calls = (
        (record, step.request, record.detail.get("result", {}))
        for run in scan.runs(named).values()
        for step in run.steps.values()
        for record in step.records
        if record.effect == Effect.SERVES and record.phase in _CALLS
    )
    told = [*calls, *((one, {}, one.detail["result"]) for one in watched)]
    for record, request, result in sorted(told, key=lambda call: call[0].seq):
        if endpoint == (result.get("endpoint") or request.get("endpoint")):
            found.take(record, request, result)
    return found
