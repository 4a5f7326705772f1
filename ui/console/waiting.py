"""What waits for consent: for whom, who gave theirs, and what the person who looks may do about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ...agents.agent import Agent
from ...agents.approvals import (
    StandingApproval,
    may_refuse,
    roles_that_would_do,
    standing_approvals,
    waits_for,
)
from ...agents.record import load_plan
from ...agents.runs import run_rows
from ...core.contract import Effect
from ...core.errors import OpswrightError
from ...record.index import LedgerIndex, RunSummary
from .auth.users import Person
from .console import Console

_MOST = 50
MOST_TOLD = 20
"""So many runs that wait for a person are told on every page."""


@dataclass(frozen=True)
class WaitingRun:
    """A run that waits for consent, or has it and is not over.

    roles: whose consent would do. why_not: why the one who looks may not give it; empty where they may.
    """

    run: str
    state: str
    goal: str
    plan: str
    effect: str
    proposed_by: str
    started: str
    given: tuple[StandingApproval, ...]
    roles: tuple[str, ...]
    why_not: str
    may_approve: bool
    may_refuse: bool
    has_mine: bool  # an approval of the one who looks stands
    void: str = ""  # that consent counts no more, and what changed

    @property
    def for_whom(self) -> str:
        """Whose consent it waits for, in words."""
        if self.may_approve:
            return "you"
        return " or ".join(
            f"a {role}" if role[0] not in "aeiou" else f"an {role}" for role in self.roles
        ) or ("nobody: no role of the policy may approve it")


def waiting_runs(
    console: Console, person: Person, states: tuple[str, ...] = ("waiting",)
) -> list[WaitingRun]:
    """The runs at one of these states, newest first, as a person sees them; what cannot be read is out."""
    agent = console.agent(person)
    found = []
    for row in run_rows(console.workspace, _MOST, states):
        try:
            found.append(_waiting_run(console, agent, row.run, row.state))
        except OpswrightError:
            continue  # a damaged record: /audit verify names it
    return found


def waits_for_person(console: Console, person: Person) -> list[RunSummary]:
    """The runs that a person's approval would let begin; none where policy or record cannot be read."""
    try:
        agent = console.agent(person)
        return waits_for(agent.workspace, agent.policy, console.principal(person), MOST_TOLD)
    except OpswrightError:
        return []  # the page itself says so


def _waiting_run(console: Console, agent: Agent, run: str, shown_state: str) -> WaitingRun:
    state = LedgerIndex.of(console.workspace).run_state(run)
    if state is None or state.plan is None:
        raise OpswrightError(f"run {run} has no plan.")
    policy = agent.policy
    given = tuple(standing_approvals(policy, state))
    own = [one for one in state.approvals if one.principal.name == agent.principal.name]
    is_given = any(not policy.has_lapsed(one, datetime.now(UTC)) for one in own)
    void = "" if shown_state == "running" else console.void_of(state)
    seen = WaitingRun(
        run=run,
        state=shown_state,
        goal=state.goal,
        plan=state.plan,
        effect=Effect(state.proposed.effect or "writes").in_words if state.proposed is not None else "",
        proposed_by=state.proposer.name if state.proposer is not None else "unknown",
        started=state.first.time,
        given=given,
        roles=(),
        why_not="",
        may_approve=False,
        may_refuse=False,
        has_mine=bool(own),
        void=void,
    )
    try:
        plan = load_plan(console.workspace, state.plan)
    except OpswrightError:  # `void` says so: nobody can approve it
        return seen
    ruling = policy.may_approve(agent.principal, plan, state.proposer, state.proposal.get("costs"))
    return replace(
        seen,
        roles=roles_that_would_do(policy, plan, state),
        why_not="" if ruling.allowed else ruling.message,
        may_approve=ruling.allowed and not is_given and shown_state == "waiting" and not void,
        may_refuse=may_refuse(policy, agent.principal, plan, state.proposer),
    )
