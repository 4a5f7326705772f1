"""Rollout: how a release becomes what an endpoint's users get, and how it is taken back.

Every step writes the desired state first and is done only when answers show that it is served. A crash
between any two leaves traffic where it was or where it should be, and the same call goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from ...core.artifact_refs import BundleRef, GuardrailRef
from ...core.contract import StepContext
from ...core.errors import AskError, BackendError, HeldError, OpswrightError
from ...core.gate import Decision, Verdict
from ...core.workspace import Workspace
from ..canary.judgement import Bars
from ..canary.pair_log import remove_others
from ..canary.reader import CanaryReader
from ..fleet import Fleet, GatewayClient
from ..probes import PROBES, Probe
from ..releases import (
    CanaryLimits,
    Change,
    EndpointState,
    Release,
    changing,
    new_release,
    read_state,
    write_state,
)
from . import comparison
from .impacts import now_in_words
from .outcomes import Outcome, Promotion, verdict_again, why_gone
from .served import ServedCheck

SHADOW_PERCENT = 10  # of stable's requests, asked of a canary too
_KEEP = 5  # former releases an endpoint may go back to
_NO_CANARY = {"canary": None, "canary_percent": 0, "shadow_percent": 0, "limits": None, "candidate": None}


class Rollout:
    """Changes of one endpoint of a workspace, on a fleet."""

    def __init__(
        self,
        workspace: Workspace,
        endpoint: str,
        fleet: Fleet,
        *,
        check: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda line: None,
        timeout_s: float = 120,
    ) -> None:
        self.workspace = workspace
        self.endpoint = endpoint
        self.fleet = fleet
        self.check = check  # raises when the caller was cancelled or its time is over
        self.say = say
        self.served = ServedCheck(fleet, endpoint, check, say, timeout_s)

    @classmethod
    def of_step(cls, ctx: StepContext, endpoint: str) -> Rollout:
        """The rollout a step makes: through the workspace's gateway, ended when the step is."""
        return cls(
            ctx.workspace,
            endpoint,
            GatewayClient(ctx.workspace, ctx.log),
            check=ctx.check,
            say=ctx.log,
            timeout_s=ctx.settings.serving.start_timeout_s,
        )

    def deploy(
        self,
        bundle: BundleRef,
        guardrails: GuardrailRef | None,
        canary_percent: int,
        probes: Sequence[str | Probe] = PROBES,
        key: str = "",
        shadow_percent: int = SHADOW_PERCENT,
        limits: CanaryLimits | None = None,
    ) -> Outcome:
        """Load a bundle with its rails, probe it, then give it traffic: all of it, or a canary's share.

        An endpoint's first release is stable at once. A share of 0 only shadows: users get nothing of it.
        shadow_percent: of stable's requests, asked of the canary too. limits: what the gateway watches the
        canary by and withdraws it; None: nobody does. AskError when another canary is out.
        """
        with changing(self.workspace, self.endpoint):
            state = read_state(self.workspace, self.endpoint)
            if state.stable is not None and state.stable.is_same_as(bundle, guardrails):
                return self._still_serving(state, state.stable, "stable")
            is_canary = state.stable is not None and canary_percent < 100
            wanted = {
                "canary_percent": canary_percent,
                "shadow_percent": shadow_percent,
                "limits": limits,
            }
            if state.canary is not None:
                if not state.canary.is_same_as(bundle, guardrails):
                    raise AskError(
                        f"endpoint {self.endpoint} has a canary already ({state.canary.id}). Promote it or "
                        "roll it back first."
                    )
                if is_canary and all(getattr(state, name) == value for name, value in wanted.items()):
                    return self._still_serving(state, state.canary, "canary")
                release = state.canary
            else:
                engine = str(self.workspace.artifacts.open(bundle).facts.get("target", ""))
                if guardrails is not None:
                    self.workspace.artifacts.open(guardrails)
                release = new_release(state, bundle, guardrails, engine)
            state, blocked = self._examined(state, release, probes, is_everywhere=True)
            if is_canary:
                remove_others(self.workspace.endpoints / self.endpoint, release.id)
                as_canary = {"canary": release, "candidate": None, **wanted}
                after = state.model_copy(update=as_canary).changed("canary", release, key)
            else:
                after = _as_stable(state, release).changed("deployed", release, key)
            route = "canary" if is_canary else "stable"
            return self._switched(state, after, release, route, is_everywhere=True, blocked=blocked)

    def promote(
        self,
        probes: Sequence[str | Probe] = (),
        bars: Bars | None = None,
        key: str = "",
        only: Collection[str] | None = None,
        planned_for: str = "",
    ) -> Promotion:
        """Judge the canary; on GO it becomes stable, on NO_GO it is withdrawn, else it stays what it is.

        only: the bundles that may be promoted; HeldError for a canary that took their canary's place.
        planned_for: the fingerprint of the state that was consented to; HeldError when it is another by now.
        """
        with changing(self.workspace, self.endpoint):
            state = read_state(self.workspace, self.endpoint)
            if (done := self._finished(state, key)) is not None:
                return self._promotion(done.release, verdict_again(done), state)
            if state.canary is None:
                raise AskError(
                    f"endpoint {self.endpoint} has no canary to promote{why_gone(state)}. `deploy` with "
                    "canary_percent below 100 makes one."
                )
            canary = state.canary
            self._check_state(state, planned_for)
            if only is not None and str(canary.bundle) not in only:
                raise HeldError(
                    f"endpoint {self.endpoint} has another canary by now, {canary.id}, than the one that was "
                    "judged when this step was prepared. Look at it, then promote again."
                )
            self.fleet.start()
            self.served.wait_loaded(canary, is_everywhere=True)
            verdict = self._judged(state, probes or PROBES, bars or Bars())
            for row in verdict.rows:
                self.say(f"{row.name}: {row.decision} ({row.message})")
            if verdict.decision is Decision.GO:
                after = _as_stable(state, canary).changed("promoted", canary, key)
                state = self._switched(state, after, canary, "stable", is_everywhere=True).state
            elif verdict.decision is Decision.NO_GO:
                reason = next(row.message for row in verdict.rows if row.decision is Decision.NO_GO)
                state = self._without_canary(state, key, "refused", reason).state
            return self._promotion(canary.id, verdict, state)

    def _promotion(self, canary: str, verdict: Verdict, state: EndpointState) -> Promotion:
        stable, _, _ = state.routes()
        return Promotion(canary, verdict, state.route_of(canary), stable or "", self.fleet.start())

    def rollback(
        self,
        probes: Sequence[str | Probe] = PROBES,
        key: str = "",
        only: Collection[str] | None = None,
        planned_for: str = "",
    ) -> Outcome:
        """Withdraw the canary; without one, bring the release before stable back, examined like a new one.

        only: the bundles and rails that may be brought back; HeldError for others. planned_for: as of
        `promote`. AskError when there is nothing to go back to.
        """
        with changing(self.workspace, self.endpoint):
            state = read_state(self.workspace, self.endpoint)
            if (done := self._finished(state, key)) is not None and state.stable is not None:
                left = done.message.removeprefix("from ") if done.what == "rolled back" else done.release
                return self._outcome(state, state.stable, "stable", is_repeated=True, withdrawn=left)
            self._check_state(state, planned_for)
            if state.canary is not None:
                self.fleet.start()
                return self._without_canary(state, key, "withdrawn", "")
            if state.stable is None or not state.previous:
                serves = f"{state.stable.id}, and nothing before it" if state.stable else "nothing"
                raise AskError(f"endpoint {self.endpoint} has nothing to go back to: it serves {serves}.")
            bad, target = state.stable, state.previous[0]
            parts = {str(part) for part in (target.bundle, target.guardrails) if part is not None}
            if only is not None and not parts <= set(only):
                raise HeldError(
                    f"endpoint {self.endpoint} would go back to another release by now, {target.id}, than "
                    "when this step was prepared. Look at it, then roll back again."
                )
            state, blocked = self._examined(state, target, probes)
            update = {"stable": target, "previous": state.previous[1:], "candidate": None}
            after = state.model_copy(update=update).changed("rolled back", target, key, f"from {bad.id}")
            return self._switched(state, after, target, "stable", blocked=blocked, withdrawn=bad.id)

    def _check_state(self, state: EndpointState, planned_for: str) -> None:
        """HeldError when an endpoint is not as it was when somebody consented to change it."""
        if planned_for and state.fingerprint != planned_for:
            last = state.changes[-1]
            raise HeldError(
                f"endpoint {self.endpoint} was changed since this was planned ({last.what} {last.release} at "
                f"{last.at}): {now_in_words(state)}. Nothing was done. Look at it, then ask anew."
            )

    def withdraw(self, canary: str, key: str, reason: str) -> Outcome | None:
        """Give a canary's traffic back to stable, and see it served; None when it is no longer the canary."""
        with changing(self.workspace, self.endpoint):
            state = read_state(self.workspace, self.endpoint)
            if state.canary is None or state.canary.id != canary:
                return None
            self.fleet.start()
            return self._without_canary(state, key, "withdrawn", reason[:500])

    def _examined(
        self,
        state: EndpointState,
        release: Release,
        probes: Sequence[str | Probe],
        *,
        is_everywhere: bool = False,
    ) -> tuple[EndpointState, int]:
        """Have a release loaded beside what serves and answer its probes; it has no traffic yet.

        is_everywhere: on every replica; what only brings an old release back does with those there are.
        On any failure the state is as it was, and the failure is written down and raised.
        """
        before = state
        self.fleet.start()
        state = write_state(
            self.workspace,
            state.model_copy(
                update={"candidate": release, "last_number": max(state.last_number, release.number)}
            ),
        )
        try:
            self.served.wait_loaded(release, is_everywhere=is_everywhere)
            blocked = 0
            for asked in probes:
                self.check()
                reply = self.fleet.ask(self.endpoint, asked, release=release.id)
                if fault := comparison.fault_of(reply, release.id):
                    text = Probe.of(asked).text[:60]
                    raise BackendError(f"release {release.id} failed the probe {text!r}: {fault}")
                blocked += reply.rail is not None
            self.say(f"release {release.id} answered {len(probes)} probes")
        except OpswrightError as error:
            back = before.model_copy(update={"serial": state.serial, "last_number": state.last_number})
            write_state(self.workspace, back.changed("refused", release, "", str(error)[:500]))
            raise
        return state, blocked

    def _switched(
        self,
        before: EndpointState,
        after: EndpointState,
        release: Release,
        route: str,
        *,
        is_everywhere: bool = False,
        **facts: Any,
    ) -> Outcome:
        """Make a state the desired one and see it served; what does not serve is taken back."""
        after = write_state(self.workspace, after)
        try:
            self.served.wait_applied(after)
            self.served.see_served(after, release, route)
            if is_everywhere:
                self.served.wait_loaded(release, is_everywhere=True)
        except OpswrightError as error:
            update = {"serial": after.serial, "candidate": None}
            back = before.model_copy(update=update).changed("refused", release, "", str(error)[:500])
            write_state(self.workspace, back)
            raise
        return self._outcome(after, release, route, **facts)

    def _without_canary(self, state: EndpointState, key: str, what: str, message: str) -> Outcome:
        """Give the canary's traffic back to stable, and see it served."""
        if state.stable is None or state.canary is None:
            raise AskError(f"endpoint {self.endpoint} has no canary to withdraw.")
        left = state.canary
        after = state.model_copy(update=_NO_CANARY).changed(what, left, key, message)
        return self._switched(state, after, state.stable, "stable", withdrawn=left.id)

    def _judged(self, state: EndpointState, probes: Sequence[str | Probe], bars: Bars) -> Verdict:
        def ask(asked: str | Probe, release: str) -> Any:
            self.check()
            return self.fleet.ask(self.endpoint, asked, release=release)

        evidence = CanaryReader(self.workspace, state, bars.max_slower).update()
        return comparison.compare(evidence, probes, ask, bars)

    def _still_serving(self, state: EndpointState, release: Release, route: str) -> Outcome:
        """A repeated call, or one that asks for what is there: see that it is served, change nothing."""
        self.fleet.start()
        self.served.wait_loaded(release)
        self.served.wait_applied(state)
        if route == "stable" and state.canary is None:
            self.served.see_served(state, release, route)
        return self._outcome(state, release, route, is_repeated=True)

    def _finished(self, state: EndpointState, key: str) -> Change | None:
        """The change an earlier call with this key made, seen to be served still.

        AskError when the endpoint was changed again since.
        """
        change = state.finished(key)
        if change is None or state.stable is None:
            return None
        if change is not state.changes[-1]:
            raise AskError(
                f"this call was carried out at {change.at} ({change.what} {change.release}), and endpoint "
                f"{self.endpoint} was changed again since. Ask anew if it should be done again."
            )
        self._still_serving(state, state.stable, "stable")
        return change

    def _outcome(self, state: EndpointState, release: Release, route: str, **facts: Any) -> Outcome:
        return Outcome(state, release, route, self.fleet.start(), self.fleet.facts(), **facts)


def _as_stable(state: EndpointState, release: Release) -> EndpointState:
    """The release gets all traffic; the one before it is kept to go back to."""
    former = (state.stable, *state.previous) if state.stable is not None else state.previous
    kept = tuple(r for r in former if r is not None and r.id != release.id)[:_KEEP]
    return state.model_copy(update={**_NO_CANARY, "stable": release, "previous": kept})
