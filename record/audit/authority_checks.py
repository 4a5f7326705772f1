"""Checks of consent: approvals, policy, judgement before serving, verdicts and budgets.

Each takes a moment and yields what is wrong with its record as the end of the sentence "record 7 ...", or a
note.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from datetime import datetime
from typing import Any

from ...core.contract import Effect
from ...core.gate import Decision, decision_of
from ...core.plan import GATE_SKILL, GATE_SUFFIX
from ..run_state import AMOUNTS
from .authority import Authority, Policies
from .moment import Moment, Note
from .phases import APPROVED, INTENT, PROPOSED, RESERVED, REUSED, SETTLED
from .plans import StoredPlan
from .run_checks import Said

ROUNDING = 1e-6  # sums of recorded amounts are rounded to microseconds and the like


def approvals(at: Moment) -> Said:
    """Each step that does more than read stands on an approval of this plan that nobody withdrew."""
    record, run = at.record, at.run
    if at.effect == Effect.READS or any(one.plan == record.plan for one in run.approvals):
        return
    if run.denial is not None:
        yield f"runs step {record.step} although the plan was denied (record {run.denial.seq})"
    else:
        yield f"runs step {record.step} ({at.effect}) without approval of its plan"


def policy(at: Moment) -> Said:
    """Who proposed, approved and ran might do so by the policy in force, which the record names."""
    record = at.record
    digest = record.detail.get("policy")
    in_force = at.past.policy
    if digest is None and record.phase == REUSED:  # it changes nothing, and is ruled by what is in force
        digest = in_force[0] if in_force is not None else None
    elif digest is None:
        if in_force is not None:
            yield f"names no policy, although record {in_force[1]} did"
        at.past.first_without_policy = at.past.first_without_policy or record.seq
    elif in_force is not None and in_force[0] != digest:
        message = f"the policy changed here from {in_force[0][:12]} to {str(digest)[:12]}"
        yield Note(record.seq, message)
    if at.scope.policies is None:
        return
    authority = yield from authority_of(at, at.scope.policies, str(digest or ""))
    if authority is None or at.plan is None or not _is_installed(at):
        return
    plan, proposer, costs = at.plan.plan, at.run.proposer, at.run.proposal.get("costs")
    if record.phase == APPROVED:
        ruling = authority.may_approve(record.principal, plan, proposer, costs)
        if not ruling.allowed:
            yield f"is an approval that does not count: {ruling.message or ruling.rule}"
    elif (call := at.plan.steps.get(record.step or "")) is not None:
        time = datetime.fromisoformat(record.time)
        approvals = tuple(at.run.approvals)
        ruling = authority.may_run(record.principal, plan, call, approvals, time, proposer, costs)
        if not ruling.allowed:
            yield f"runs step {record.step}, which the policy forbids: {ruling.message or ruling.rule}"
        yield from _proposer_might(at, authority)


def _is_installed(at: Moment) -> bool:
    """Whether every skill of the plan is there to say its effect; that one is not is noted with the plan."""
    known = at.scope.effects
    return known is None or at.plan is None or all(skill in known for _, skill, _ in at.plan.summary)


def authority_of(at: Moment, policies: Policies, digest: str) -> Generator[str, None, Authority | None]:
    """The policy of that digest; that it is gone, altered or does not read is said once."""
    known = at.past.authorities
    if digest not in known:
        known[digest] = policies(digest)
        if known[digest] is None and digest:
            yield f"was done by policy {digest[:12]}, which is not kept in ledger/policies as it was"
    return known[digest]


def _proposer_might(at: Moment, authority: Authority) -> Iterator[str]:
    """Whether whoever proposed might: a refused proposal is no fault until somebody carries it out."""
    proposer = at.run.proposer
    if proposer is None or at.plan is None or any(step.records for step in at.run.steps.values()):
        return
    ruling = authority.may_propose(proposer, at.plan.plan, at.run.proposal.get("costs"))
    if not ruling.allowed:
        yield f"runs a plan that {proposer} might not propose: {ruling.message or ruling.rule}"


def serving(at: Moment) -> Said:
    """What is served was judged GO before, it or the checkpoint behind it, or the plan names a waiver."""
    record = at.record
    if at.plan is None:
        return
    if record.phase == PROPOSED:
        for step, gate in at.plan.served_before_judged:
            if step not in at.plan.plan.waivers:
                yield f"proposes to serve with step {step} what only {gate} judges afterwards"
        return
    if not at.serves:
        return
    why = at.plan.plan.waivers.get(record.step or "")
    for model in at.models():
        if why is not None:
            message = f"step {record.step} serves {_short(model)} under a waiver of its gate: {why}"
            yield Note(record.seq, message)
            continue
        found = at.past.lineage.standing(model, record.run or "").values()
        against = [one for one in found if one.decision == Decision.NO_GO]
        if against:
            where = f"record {against[-1].seq} decided NO_GO on {against[-1].suite}"
            yield f"serves {_short(model)} although {where}"
        elif not found:
            yield f"serves {_short(model)}, which no gate judged before, without a waiver in the plan"


def _short(ref: str) -> str:
    return ref[: ref.find(":") + 13]


def gates(at: Moment) -> Said:
    """A verdict follows from its rows, by criteria that the plan fixed before anything ran."""
    record = at.record
    result = record.detail.get("result", {})
    if "verdict" not in result:
        return
    verdict: Mapping[str, Any] = result["verdict"]
    decision = str(verdict.get("decision"))
    request = at.step.request if at.step is not None else {}
    spec = request.get("spec")
    leads_to = decision_of(verdict.get("rows", ()), spec if isinstance(spec, Mapping) else None)
    if decision != leads_to:
        yield f"decides {decision}, its rows lead to {leads_to}"
    if record.skill != GATE_SKILL:
        return
    if at.plan is not None and request.get("spec") not in _criteria(at.plan, record.step or ""):
        yield "judges by criteria that are not among the plan's gates"
    trained = at.past.lineage.training_of(str(request.get("report")))
    proposed = at.run.proposed
    if trained is not None and proposed is not None and trained.intent < proposed.seq:
        yield Note(
            record.seq,
            f"the gate was set (record {proposed.seq}) after the model it judges was trained "
            f"(record {trained.intent}, run {trained.run})",
        )


def _criteria(plan: StoredPlan, step: str) -> Collection[Any]:
    """What a step may judge by: the plan's gates or, where a plan asks for the gate itself, its arguments."""
    call = plan.steps.get(step)
    if call is None or step.endswith(GATE_SUFFIX):
        gates: Mapping[str, Any] = plan.body["gates"]
        return gates.values()
    return [call.arguments.get("spec")]


def budgets(at: Moment) -> Said:
    """Each attempt reserves before and settles after, and none is begun beyond the plan's budget."""
    record = at.record
    name = (record.run or "", record.step or "")
    reserved = at.past.reserved.get(name)
    if record.phase in (RESERVED, SETTLED):
        amounts = record.detail.get("reserved" if record.phase == RESERVED else "spent", {})
        if any(isinstance(amounts.get(a), int | float) and amounts[a] < 0 for a in AMOUNTS):
            yield f"has {record.phase} a negative amount for step {record.step}"
        if record.phase == RESERVED and reserved is not None:
            yield f"reserves again for step {record.step}; what record {reserved} reserved was not settled"
        elif record.phase == SETTLED and reserved is None:
            yield f"settles step {record.step}, for which nothing is reserved"
    elif record.phase != INTENT:
        if reserved is not None:
            yield f"ends step {record.step}, but what record {reserved} reserved was not settled"
    elif reserved is None:
        if at.keeps_costs:
            yield f"begins step {record.step} without a reservation"
    else:
        yield from _beyond_budget(at)


def _beyond_budget(at: Moment) -> Iterator[str]:
    """Limits of the plan that what is spent and what is reserved exceed together."""
    step = at.step
    if at.plan is None or step is None:
        return
    for name, limit in at.plan.limits.items():
        if name not in step.reserved:
            yield f"begins step {at.record.step} without a known amount of {name}, which the budget limits"
            continue
        held = sum(one.reserved.get(name, 0.0) for one in at.run.steps.values())
        total = at.run.spent.get(name, 0.0) + held
        if total > limit * (1 + ROUNDING) + ROUNDING:
            words = f"{at.run.spent.get(name, 0.0):g} spent and {held:g} reserved of {limit:g} {name}"
            yield f"begins step {at.record.step} beyond the budget: {words}"
