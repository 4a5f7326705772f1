"""A rollout in stages: from shadow to everybody, as far as what is seen allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ...core.artifact_refs import BundleRef, GuardrailRef
from ...core.gate import Check, Decision, Verdict
from ..canary.judgement import faults, judge
from ..canary.reader import CanaryReader
from ..canary.watch import bars_of
from ..probes import Probe
from ..releases import CanaryLimits, Change, EndpointState, Release, Route, read_state
from . import Rollout

_LOOK_S = 0.5
Probes = Sequence[str | Probe]


@dataclass(frozen=True)
class Stages:
    """Percent of sessions at each stage, what a stage must have met, and how long all may take."""

    percents: tuple[int, ...]
    requests: int
    minutes: float
    max_minutes: float
    shadow_percent: int
    limits: CanaryLimits

    def shadowed(self, percent: int) -> int:
        """Percent of stable's requests that are asked of the canary too: all where it has none of its own."""
        return self.shadow_percent if percent else 100


@dataclass(frozen=True)
class RolledOut:
    """How a rollout ended: what became of the canary, what users get, and why."""

    canary: str
    now: Route
    percent: int
    stable: str
    verdict: Verdict
    url: str


class StagedRollout:
    """One canary on its way; the endpoint's state says how far it is, so a killed one goes on from there."""

    def __init__(self, rollout: Rollout, stages: Stages, key: str) -> None:
        self.rollout = rollout
        self.stages = stages
        self._key = key
        self._deadline = time.monotonic() + stages.max_minutes * 60

    def run(
        self,
        bundle: BundleRef,
        guardrails: GuardrailRef | None,
        probes: Probes,
        promotion_probes: Callable[[], Probes] | None,
    ) -> RolledOut:
        """Go through the stages; the end of each is asked anew of the state, which the watch may change.

        promotion_probes: what both are asked before everybody gets it; None: it stays a canary.
        """
        if (over := self._is_over(bundle, guardrails)) is not None:
            return over
        for percent in self.stages.percents:
            state = self._state()
            if state.canary is not None and state.canary_percent > percent:
                continue  # an earlier attempt came further
            done = self.rollout.deploy(
                bundle,
                guardrails,
                percent,
                probes,
                key=f"{self._key}/{percent}",
                shadow_percent=self.stages.shadowed(percent),
                limits=self.stages.limits,
            )
            if done.route == "stable":  # an endpoint's first release, or what it serves already
                return self._ended(
                    done.release, "stable", "users get it: there was nothing to hold it against"
                )
            verdict = self._stage(done.release, percent)
            if verdict is not None:
                return verdict
        return self._promoted(done.release, promotion_probes)

    def _is_over(self, bundle: BundleRef, guardrails: GuardrailRef | None) -> RolledOut | None:
        """How an earlier attempt of the same call ended, as the state has it; None when it did not."""
        state = self._state()
        mine = [one for one in state.changes if self._key and one.key.startswith(f"{self._key}/")]
        if not mine or state.canary is not None:
            return None
        release = state.release(mine[-1].release)
        if release is None or not release.is_same_as(bundle, guardrails):
            return None
        return self._gone(release)

    def _stage(self, canary: Release, percent: int) -> RolledOut | None:
        """Wait until the stage met enough; how the rollout ended when it did so here."""
        reader = CanaryReader(self.rollout.workspace, self._state(), self.stages.limits.max_slower)
        began, met = time.monotonic(), self._met(reader, percent)
        while True:
            self.rollout.check()
            state = self._state()
            if state.canary is None or state.canary.id != canary.id:
                return self._gone(canary)
            bars = bars_of(self.stages.limits)
            if bad := faults(reader.update(), bars):
                reason = "; ".join(f"{row.name}: {row.message}" for row in bad)
                self.rollout.withdraw(canary.id, f"{self._key}/withdrawn", reason)
                return self._as_ended(canary, Verdict.of(bad))
            is_enough = self._met(reader, percent) - met >= self.stages.requests
            if is_enough and time.monotonic() - began >= self.stages.minutes * 60:
                self.rollout.say(f"stage {percent} %: nothing is held against the canary")
                return None
            if time.monotonic() > self._deadline:
                missing = self.stages.requests - self._met(reader, percent) + met
                why = f"{missing} more requests are needed at {percent} %" if missing > 0 else "time is over"
                rows = judge(reader.evidence, bars)
                return self._as_ended(canary, Verdict.of([*rows, _stopped(why)]))
            time.sleep(_LOOK_S)

    def _met(self, reader: CanaryReader, percent: int) -> int:
        evidence = reader.update()
        return evidence.requests if percent else evidence.pairs.requests[0]

    def _promoted(self, canary: Release, probes: Callable[[], Probes] | None) -> RolledOut:
        if probes is None:
            rows = judge(self._reader().update(), bars_of(self.stages.limits))
            return self._as_ended(canary, Verdict.of([*rows, _stopped("the plan asks for no promotion")]))
        bars = bars_of(self.stages.limits)
        key = f"{self._key}/promoted"
        if self._state().canary is None:
            return self._gone(canary)
        done = self.rollout.promote(probes(), bars, key=key, only=[str(canary.bundle)])
        return self._as_ended(canary, done.verdict)

    def _gone(self, canary: Release) -> RolledOut:
        """How it ended when something else than this call ended it."""
        state = self._state()
        if state.stable is not None and state.stable.id == canary.id:
            return self._ended(canary, "stable", "it is what users get")
        changes = [one for one in state.changes if one.release == canary.id]
        last: Change | None = changes[-1] if changes else None
        return self._ended(canary, "withdrawn", last.message or last.what if last else "withdrawn")

    def _ended(self, release: Release, how: Literal["stable", "withdrawn"], why: str) -> RolledOut:
        decision = Decision.GO if how == "stable" else Decision.NO_GO
        return self._as_ended(release, Verdict.of([Check(name=how, decision=decision, message=why)]))

    def _as_ended(self, canary: Release, verdict: Verdict) -> RolledOut:
        state = self._state()
        stable, _, percent = state.routes()
        now = state.route_of(canary.id)
        share = {"stable": 100, "canary": percent, "withdrawn": 0}[now]
        return RolledOut(canary.id, now, share, stable or "", verdict, self.rollout.fleet.start())

    def _reader(self) -> CanaryReader:
        return CanaryReader(self.rollout.workspace, self._state(), self.stages.limits.max_slower)

    def _state(self) -> EndpointState:
        return read_state(self.rollout.workspace, self.rollout.endpoint)


def _stopped(why: str) -> Check:
    return Check(name="stages", decision=Decision.INCONCLUSIVE, message=why)
