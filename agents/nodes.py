"""What each node of the graph does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import AskError
from ..core.gate import Decision
from ..core.plan import Plan
from ..core.registry import Registry
from ..core.workspace import Workspace
from ..record.ledger import Phase
from . import policy
from .graph import Consent, RunState
from .planner import Ask, Planner
from .preflight import preflight
from .record import RunRecord, load_plan
from .steps import StepRunner

EXIT_BY_DECISION = {Decision.GO: 0, Decision.NO_GO: 3, Decision.INCONCLUSIVE: 4}
_REFUSED_BY_PREFLIGHT = 1
_OVER_BUDGET = 6
_NOT_ALLOWED = 5


@dataclass
class AgentNodes:
    """The nodes of one run."""

    workspace: Workspace
    registry: Registry
    planners: Mapping[str, Planner]
    record: RunRecord
    runner: StepRunner
    _read: Plan | None = None

    def listen(self, state: RunState) -> dict[str, Any]:
        """Take the ask; AskError for a kind nobody plans."""
        kind = state["ask"]["kind"]
        if kind not in self.planners:
            raise AskError(f"nothing plans a '{kind}' (there are: {', '.join(self.planners)}).")
        return {"results": {}, "spent_s": 0.0, "verdict": None, "refusal": None, "consent": None}

    def plan(self, state: RunState) -> dict[str, Any]:
        """Propose a plan and record it, gates and all, before anything runs."""
        ask = state["ask"]
        plan = self.planners[ask["kind"]].propose(Ask(kind=ask["kind"], text=ask["text"]))  # type: ignore[arg-type]
        self.record.proposed(plan, source=ask["text"])
        return {"plan": plan.id, "steps_left": len(plan.steps)}

    def preflight(self, state: RunState) -> dict[str, Any]:
        """Find what could stop the plan; a finding that does becomes the refusal."""
        plan = self._plan(state)
        found = preflight(plan, self.registry, self.workspace)
        refusal: dict[str, Any] | None = None
        if policy.refusals(plan, self.workspace.settings.role):
            refusal = {"message": "; ".join(found.stops), "exit_code": _NOT_ALLOWED}
        elif found.stops:
            refusal = {"message": "; ".join(found.stops), "exit_code": _REFUSED_BY_PREFLIGHT}
        elif found.over_budget:
            refusal = {"message": "; ".join(found.over_budget), "exit_code": _OVER_BUDGET}
        return {
            "findings": [{"step": step, **finding.model_dump()} for step, finding in found.findings],
            "costs": {step: cost.model_dump() for step, cost in found.costs.items()},
            "refusal": refusal,
        }

    def approve(self, state: RunState) -> dict[str, Any]:
        """Consent for exactly this plan: given with the ask, not needed, or waited for."""
        plan = self._plan(state)
        settings = self.workspace.settings
        if not policy.needs_approval(plan):
            return {"consent": _consent(True, plan.id, settings.actor, str(settings.role), "reads only")}
        upfront = state.get("upfront")
        if upfront is not None and upfront["plan"] in (plan.id, "typed"):
            return {"consent": {**upfront, "plan": plan.id}}
        from langgraph.types import interrupt

        answer: Consent = interrupt({"plan": plan.id})
        return {"consent": answer}

    def act(self, state: RunState) -> dict[str, Any]:
        """Carry out the next step and note its result, and a gate's decision."""
        plan = self._plan(state)
        consent = state["consent"]
        if consent is not None and policy.needs_approval(plan):
            self._record_consent(plan, consent)
        results = dict(state["results"])
        step = plan.steps[len(results)]
        started = time.monotonic()
        approved = consent["plan"] if consent is not None and consent["approved"] else None
        result = self.runner.run(plan, step, results, approved, state["spent_s"])
        results[step.id] = result
        return {
            "results": results,
            "steps_left": len(plan.steps) - len(results),
            "spent_s": state["spent_s"] + time.monotonic() - started,
            "verdict": result["verdict"]["decision"] if "verdict" in result else state["verdict"],
        }

    def report(self, state: RunState) -> dict[str, Any]:
        """How the run ended, said and recorded."""
        plan = self._plan(state)
        outcome = _outcome(state, plan)
        consent = state.get("consent")
        if consent is not None and not consent["approved"]:
            self._record_consent(plan, consent)
        phase = Phase.FAILED if outcome["status"] in ("refused", "denied") else Phase.DONE
        self.record.ended(plan, phase, {**outcome, "seconds": round(state["spent_s"], 3)})
        return {"outcome": outcome}

    def _plan(self, state: RunState) -> Plan:
        """The run's plan, read once and checked against its id."""
        if self._read is None or self._read.id != state["plan"]:
            self._read = load_plan(self.workspace, state["plan"])
        return self._read

    def _record_consent(self, plan: Plan, consent: Consent) -> None:
        phase = Phase.APPROVED if consent["approved"] else Phase.DENIED
        self.record.consent(
            plan, phase, by=consent["by"], role=consent["role"], how=consent["how"], why=consent["why"]
        )


def _consent(approved: bool, plan: str, by: str, role: str, how: str, why: str = "") -> Consent:
    return Consent(approved=approved, plan=plan, by=by, role=role, how=how, why=why)


def _outcome(state: RunState, plan: Plan) -> dict[str, Any]:
    if refusal := state.get("refusal"):
        return {"status": "refused", "verdict": None, **refusal}
    consent = state["consent"]
    if consent is not None and not consent["approved"]:
        message = f"{consent['by']} denied the plan" + (f": {consent['why']}" if consent["why"] else "")
        return {"status": "denied", "verdict": None, "message": message, "exit_code": _NOT_ALLOWED}
    verdict = state["verdict"]
    if verdict is None:
        return {"status": "done", "verdict": None, "message": "every step is done", "exit_code": 0}
    skipped = [step.id for step in plan.steps[len(state["results"]) :]]
    message = f"the gate says {verdict}" + (f"; not run: {', '.join(skipped)}" if skipped else "")
    return {
        "status": "done",
        "verdict": verdict,
        "message": message,
        "exit_code": EXIT_BY_DECISION[Decision(verdict)],
    }
