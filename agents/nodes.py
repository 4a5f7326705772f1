"""What each node of the graph does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.contract import Finding
from ..core.errors import HeldError
from ..core.exit_code import ExitCode
from ..core.gate import Decision
from ..core.plan import Plan, StepCall
from ..core.registry import Registry
from ..core.workspace import Workspace
from ..record.ledger import Phase
from ..record.run_state import RunState
from .approvals import Consent, record_consent
from .graph import Cursor
from .planner import Proposal
from .policy import Policy
from .preflight import preflight, refusal
from .record import RunRecord, load_plan
from .steps import StepRunner

_BY_DECISION = {
    Decision.GO: ExitCode.DONE,
    Decision.NO_GO: ExitCode.NO_GO,
    Decision.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}


@dataclass
class AgentNodes:
    """The nodes of one run. `proposal` and `consent` come with a new run only."""

    workspace: Workspace
    registry: Registry
    policy: Policy
    record: RunRecord
    runner: StepRunner
    proposal: Proposal | None = None
    consent: Consent | None = None
    until: str | None = None  # the step that this call goes no further than
    only_ends: bool = False  # whoever calls refused the plan: they carry nothing out
    consent_refused: str = ""
    is_paused: bool = False
    _read: Plan | None = None

    def listen(self, state: Cursor) -> dict[str, Any]:
        """Begin with nothing decided."""
        return {"refusal": None, "goes_on": False}

    def plan(self, state: Cursor) -> dict[str, Any]:
        """Take the plan as it was proposed: it is not made again."""
        if self.proposal is not None:
            self._read = self.proposal.plan
            return {"plan": self.proposal.plan.id}
        return {"plan": state.get("plan") or self.record.state.plan}

    def preflight(self, state: Cursor) -> dict[str, Any]:
        """Find what could stop the plan, and record proposal, findings and consent given with the ask."""
        if self.proposal is None:  # taken up again: what was found is in the record
            return {}
        plan = self.proposal.plan
        who, folder = self.record.principal, self.proposal.folder
        found = preflight(plan, self.registry, self.workspace, folder, self.record.state, who.name)
        ruling = self.policy.may_propose(self.record.principal, plan, found.recorded_costs)
        planning, planner, notes = self.proposal.cost, self.proposal.planned_by, self.proposal.notes
        self.record.proposed(
            plan,
            source=self.proposal.source,
            folder=self.proposal.folder.resolve(),
            costs=found.recorded_costs,
            findings=[
                *({"step": step, **finding.model_dump()} for step, finding in found.findings),
                *({"step": "plan", **Finding(level="note", message=note).model_dump()} for note in notes),
            ],
            **({"planning": planning.model_dump()} if planning is not None else {}),
            **({"planner": planner.document()} if planner is not None else {}),
        )
        code, why = refusal(found, ruling)
        if code:
            return {"refusal": {"message": "; ".join(why), "exit_code": code}}
        if self.consent is not None and self.consent.plan == plan.id:
            try:
                record_consent(self.record, plan, self.consent)
            except HeldError as error:  # somebody else's consent may still come
                self.consent_refused = str(error)
        return {}

    def approve(self, state: Cursor) -> dict[str, Any]:
        """Go on once somebody's consent to exactly this plan is in the ledger; until then, wait."""
        run, plan = self.record.refresh(), self._plan(state)
        if not needs_approval(plan, self.policy) or run.approvals:
            return {"goes_on": not self.only_ends}
        if run.denial is not None:
            return {"goes_on": False}
        from langgraph.types import interrupt

        interrupt({"plan": plan.id})
        return {"goes_on": bool(self.record.refresh().approvals)}

    def act(self, state: Cursor) -> dict[str, Any]:
        """Carry out the next step."""
        plan = self._plan(state)
        step = next_step(self._part(plan), self.record.refresh())
        if step is not None:
            self.runner.run(plan, step)
        return {"goes_on": _goes_on(self._part(plan), self.record.state)}

    def report(self, state: Cursor) -> dict[str, Any]:
        """How the run ended, recorded."""
        plan, run = self._plan(state), self.record.refresh()
        if not state.get("refusal") and run.denial is None and _goes_on(plan, run):
            self.is_paused = True  # nothing of it has ended: a step to go to, or consent after a refusal
            return {"goes_on": False}
        outcome = _outcome(state.get("refusal"), plan, run)
        phase = Phase.FAILED if outcome["status"] in ("refused", "denied") else Phase.DONE
        seconds = round(run.spent.get("minutes", 0.0) * 60, 3)
        self.record.ended(plan, phase, {**outcome, "seconds": seconds})
        return {"goes_on": False}

    def _part(self, plan: Plan) -> Plan:
        """The plan as far as this call goes: in the plan's order, whichever of its steps are done."""
        if self.until is None:
            return plan
        last = [step.id for step in plan.steps].index(self.until)
        return plan.model_copy(update={"steps": plan.steps[: last + 1]})

    def _plan(self, state: Cursor) -> Plan:
        """The run's plan, read once and checked against its id."""
        if self._read is None or self._read.id != state["plan"]:
            self._read = load_plan(self.workspace, state["plan"])
        return self._read


def needs_approval(plan: Plan, policy: Policy) -> bool:
    """Whether a person must consent: for anything but reading, by the skills' own effects."""
    return any(policy.effect_of(step) != "reads" for step in plan.steps)


def next_step(plan: Plan, run: RunState) -> StepCall | None:
    """The first step that is not done; a gate that could not decide is not, for it may be asked again."""
    for step in plan.steps:
        known = run.steps.get(step.id)
        if known is None or known.finished is None:
            return step
        if known.is_undecided:
            return step
    return None


def _goes_on(plan: Plan, run: RunState) -> bool:
    return run.verdict in (None, Decision.GO) and next_step(plan, run) is not None


def _outcome(refused: dict[str, Any] | None, plan: Plan, run: RunState) -> dict[str, Any]:
    if refused is not None:
        return {"status": "refused", "verdict": None, **refused}
    if run.denial is not None:
        why = run.denial.detail.get("why")
        message = f"{run.denial.actor} denied the plan" + (f": {why}" if why else "")
        return {
            "status": "denied",
            "verdict": None,
            "message": message,
            "exit_code": ExitCode.DENIED,
        }
    verdict = run.verdict
    if verdict is None:
        return {"status": "done", "verdict": None, "message": "every step is done", "exit_code": 0}
    skipped = [step.id for step in plan.steps if step.id not in run.results]
    message = f"the gate says {verdict}" + (f"; not run: {', '.join(skipped)}" if skipped else "")
    return {
        "status": "done",
        "verdict": verdict,
        "message": message,
        "exit_code": _BY_DECISION[Decision(verdict)],
    }
