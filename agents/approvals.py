"""Approvals: consent to exactly one plan, in the ledger from when it is given until it is withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..core.errors import DeniedError, HeldError, OpswrightError
from ..core.plan import Plan
from ..core.principal import Principal
from ..core.workspace import Workspace
from ..record.index import LedgerIndex, RunSummary
from ..record.ledger import Phase
from ..record.run_state import RunState
from .policy import Policy
from .record import RunRecord, load_plan
from .void import void_in_words, void_reasons

_LOOKED_AT = 100  # waiting runs, newest first


@dataclass(frozen=True)
class Consent:
    """An answer to a plan, by its id; who gives it is the principal of the call that carries it."""

    plan: str
    how: str
    approved: bool = True
    why: str = ""


def record_consent(record: RunRecord, plan: Plan, consent: Consent) -> None:
    """Record an answer to a run's plan, once for each principal.

    Raises HeldError when it is for another plan, when the policy does not let the principal give it, or when
    the same answer is recorded already.
    """
    with record.workspace.lock(f"approvals-{record.run_id}"):
        state = record.refresh()
        if consent.plan != plan.id:
            raise HeldError(
                f"run {record.run_id} waits for approval of plan {plan.id[:12]}, not {consent.plan[:12]}."
            )
        costs = state.proposal.get("costs")
        ruling = record.policy.may_approve(record.principal, plan, state.proposer, costs)
        if consent.approved and not ruling.allowed:
            raise DeniedError(ruling.message)
        if not consent.approved and not may_refuse(record.policy, record.principal, plan, state.proposer):
            raise DeniedError(f"{record.principal} may not refuse or withdraw plans: {ruling.message}")
        if state.is_over and not state.may_be_judged_again:
            raise HeldError(f"run {record.run_id} is over ({state.status}): it takes no answer any more.")
        now = datetime.now(UTC)
        standing = [one for one in state.approvals if not record.policy.has_lapsed(one, now)]
        given = any(one.principal.name == record.principal.name for one in standing)
        if consent.approved and given:
            raise HeldError(f"run {record.run_id} was approved by {record.principal.name} already.")
        if consent.approved and (by := state.overruled.get(record.principal.name)) is not None:
            raise HeldError(
                f"{by.principal.name} took back the approval that {record.principal.name} gave to run "
                f"{record.run_id} (record {by.seq}). Somebody else has to approve it now; once "
                f"{by.principal.name} does, {record.principal.name} may again."
            )
        if not consent.approved and state.denial is not None:
            raise HeldError(f"run {record.run_id} was refused already.")
        phase = Phase.APPROVED if consent.approved else Phase.DENIED
        record.answered(plan, phase, how=consent.how, why=consent.why)


def may_refuse(policy: Policy, principal: Principal, plan: Plan, proposer: Principal | None) -> bool:
    """Whether someone's refusal counts: who proposed the plan, or may approve any step of it."""
    if proposer is not None and principal.name == proposer.name:
        return True
    may_approve_some = any(
        policy.may_approve(principal, _only(plan, step), None).allowed for step in plan.steps
    )
    return may_approve_some


def _only(plan: Plan, step: Any) -> Plan:
    return plan.model_copy(update={"steps": (step,)})


def record_withdrawal(record: RunRecord, plan: Plan, how: str, why: str = "") -> None:
    """Take this principal's own approval of a run's plan back; HeldError when none of theirs stands."""
    state = record.refresh()
    if all(one.principal.name != record.principal.name for one in state.approvals):
        given = ", ".join(str(one.principal) for one in state.approvals) or "nobody"
        raise HeldError(
            f"run {record.run_id} has no approval of {record.principal.name} to take back (approved by: "
            f"{given}). `opswright approvals deny RUN` refuses a plan, or takes back what others approved."
        )
    record_consent(record, plan, Consent(plan.id, how, approved=False, why=why or "withdrawn"))


@dataclass(frozen=True)
class StandingApproval:
    """An approval that nobody took back; one that has lapsed counts no more."""

    by: str
    given: str
    lapses: str | None  # ISO 8601, UTC; None: it has no end
    has_lapsed: bool


@dataclass(frozen=True)
class ApprovalRow:
    """How the approval of one run stands, for a list."""

    run: str
    plan: str
    goal: str
    status: str
    proposed_by: str
    approved_by: tuple[str, ...]
    denied_by: str | None
    needs: tuple[str, ...]  # roles whose approval would do
    approvals: tuple[StandingApproval, ...] = ()
    void: tuple[str, ...] = ()  # what changed, so that consent counts no more
    has_plan: bool = True  # whether the recorded plan is there as it was

    @property
    def state(self) -> str:
        """The run's status, or that consent is void and why."""
        return void_in_words(self.void) or self.status

    def document(self) -> dict[str, Any]:
        """As JSON."""
        lists = {name: list(getattr(self, name)) for name in ("approved_by", "needs", "void")}
        given = [one.__dict__ for one in self.approvals]
        return {**self.__dict__, **lists, "approvals": given, "state": self.state}


def approval_row(workspace: Workspace, policy: Policy, record: RunRecord) -> ApprovalRow:
    """How a run's approval stands; nobody can approve one whose plan was altered or is gone."""
    state = record.state
    try:
        plan = load_plan(workspace, state.plan or "")
    except OpswrightError:
        plan = None
    return ApprovalRow(
        run=state.run,
        plan=state.plan or "",
        goal=state.goal,
        status=state.status,
        proposed_by=str(state.proposer or "unknown"),
        approved_by=tuple(str(one.principal) for one in state.approvals),
        denied_by=str(state.denial.principal) if state.denial is not None else None,
        needs=roles_that_would_do(policy, plan, state) if plan is not None else (),
        approvals=tuple(standing_approvals(policy, state)),
        void=tuple(void_reasons(workspace, state)),
        has_plan=plan is not None,
    )


def roles_that_would_do(policy: Policy, plan: Plan, state: RunState) -> tuple[str, ...]:
    """The roles in which somebody who did not propose the plan may approve it."""
    costs = state.proposal.get("costs")
    return tuple(
        role
        for role in policy.rules.roles
        if policy.may_approve(Principal("anyone else", (role,), "asked"), plan, state.proposer, costs).allowed
    )


def waits_for(
    workspace: Workspace, policy: Policy, principal: Principal, limit: int = 20
) -> list[RunSummary]:
    """The newest runs that wait for approval and that this principal's approval would let begin."""
    index = LedgerIndex.of(workspace)
    found = []
    for row in index.rows(_LOOKED_AT, statuses=("waiting",)):
        state = index.run_state(row.run)
        if state is None:
            continue
        try:
            plan = load_plan(workspace, state.plan or "")
        except (OpswrightError, OSError):
            continue  # a plan that is gone or altered can be approved by nobody
        if policy.may_approve(principal, plan, state.proposer, state.proposal.get("costs")).allowed:
            found.append(row)
        if len(found) == limit:
            break
    return found


def why_not_approve(policy: Policy, principal: Principal, plan: Plan, state: RunState) -> str:
    """Why this principal's approval of a run's plan does not count, and whose does; empty where it does."""
    ruling = policy.may_approve(principal, plan, state.proposer, state.proposal.get("costs"))
    return "" if ruling.allowed else ruling.message


def standing_approvals(policy: Policy, state: RunState) -> Iterator[StandingApproval]:
    """The approvals of a run that nobody took back, and until when each counts."""
    now = datetime.now(UTC)
    for one in state.approvals:
        until = policy.lapses(one)
        told = None if until is None else until.astimezone(UTC).isoformat(timespec="seconds")
        given = one.time.astimezone(UTC).isoformat(timespec="seconds")
        yield StandingApproval(str(one.principal), given, told, policy.has_lapsed(one, now))
