"""What a run writes into the ledger: every record once, however often a crash makes a node run again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ..core.contract import Effect
from ..core.errors import IntegrityError, OpswrightError
from ..core.files import write_atomically
from ..core.plan import Plan, StepCall
from ..core.principal import Principal
from ..core.workspace import Workspace
from ..record.ledger import Ledger, Phase, Record


class RunRecord:
    """The ledger as one run sees it."""

    def __init__(self, workspace: Workspace, run_id: str, *, resumed: bool) -> None:
        self.workspace = workspace
        self.run_id = run_id
        self._done: dict[str, Record] = {}
        self._once: set[Phase] = set()
        self._attempts: dict[str, int] = {}
        for record in Ledger.of(workspace).records() if resumed else ():
            if record.run == run_id:
                self._remember(record)

    def _remember(self, record: Record) -> None:
        phase = Phase(record.phase)
        if record.step is None:
            self._once.add(phase)
        elif phase in (Phase.DONE, Phase.REUSED, Phase.ROLLED_BACK):
            self._done[record.step] = record
        elif phase is Phase.INTENT:
            self._attempts[record.step] = self._attempts.get(record.step, 0) + 1

    def finished(self, step: str) -> Record | None:
        """The record that says a step of this run is done, from before a crash or from this process."""
        return self._done.get(step)

    def proposed(self, plan: Plan, source: str) -> None:
        """The plan, its steps and gates: written before anything runs, so no bar can move afterwards."""
        if Phase.PROPOSED in self._once:
            return
        stored = self.workspace.plans / f"{plan.id}.json"
        if not stored.exists():
            write_atomically(stored, plan.document())
        self._append(
            Phase.PROPOSED,
            plan=plan.id,
            effect=str(plan.effect),
            detail={
                "goal": plan.goal,
                "source": source,
                "gates": {name: spec.model_dump(mode="json") for name, spec in plan.gates.items()},
                "inputs": plan.inputs,
                "steps": [{"id": s.id, "skill": s.skill, "effect": str(s.effect)} for s in plan.steps],
            },
        )

    def consent(self, plan: Plan, phase: Phase, *, by: str, role: str, how: str, why: str = "") -> None:
        """A person's approval or denial of this plan."""
        if phase not in self._once:
            detail = {"how": how, **({"why": why} if why else {})}
            self._append(phase, plan=plan.id, principal=Principal(by, (role,), how), detail=detail)

    def intent(self, plan: Plan, step: StepCall, request: Mapping[str, Any], key: str) -> Record:
        """What is about to happen; `attempt` counts the tries that a crash or failure made necessary."""
        attempt = self._attempts.get(step.id, 0) + 1
        detail = {"key": key, "attempt": attempt, "pid": os.getpid()}
        return self._append(
            Phase.INTENT,
            step=step.id,
            skill=step.skill,
            effect=str(step.effect),
            plan=plan.id,
            request=request,
            detail=detail,
        )

    def outcome(
        self,
        phase: Phase,
        plan: Plan,
        step: StepCall,
        *,
        request: Mapping[str, Any] | None = None,
        result: Mapping[str, Any] | None = None,
        artifacts: Mapping[str, str] | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> Record:
        """How a step ended; `request` where no intent came before, as for a reused result."""
        return self._append(
            phase,
            step=step.id,
            skill=step.skill,
            effect=str(step.effect),
            plan=plan.id,
            request=request,
            result=result,
            artifacts=artifacts,
            detail=detail,
        )

    def ended(self, plan: Plan | None, phase: Phase, detail: Mapping[str, Any]) -> None:
        """How the run ended: a failed run may be resumed and end once more, a done one is done."""
        if phase is Phase.FAILED or Phase.DONE not in self._once:
            self._append(phase, plan=plan.id if plan else None, detail=detail)

    def _append(self, phase: Phase, **fields: Any) -> Record:
        settings = self.workspace.settings
        fields.setdefault("principal", Principal.of_os_user(settings.actor, (str(settings.role),)))
        record = Ledger.of(self.workspace).append(phase, run=self.run_id, **fields)
        self._remember(record)
        return record


def load_plan(workspace: Workspace, plan_id: str) -> Plan:
    """A recorded plan; IntegrityError when the file is gone or no longer hashes to its id."""
    path = workspace.plans / f"{plan_id}.json"
    if not path.exists():
        raise IntegrityError(
            f"the recorded plan {plan_id[:12]} is gone from {path.parent}. Restore it to go on."
        )
    plan = Plan.from_document(json.loads(path.read_bytes()))
    if plan.id != plan_id:
        raise IntegrityError(
            f"{path} holds plan {plan.id[:12]}, recorded was {plan_id[:12]}. Restore it to go on."
        )
    return plan


def error_detail(error: BaseException) -> dict[str, Any]:
    """An error as records keep it."""
    family = error.family if isinstance(error, OpswrightError) else type(error).__name__
    code = error.exit_code if isinstance(error, OpswrightError) else 1
    return {"error": {"family": family, "message": str(error)[:4000]}, "exit_code": code}


def effect_phase(effect: Effect, result: Mapping[str, Any]) -> Phase:
    """The phase of a finished step: a serving step that took a release back says so."""
    return Phase.ROLLED_BACK if effect is Effect.SERVES and result.get("rolled_back") else Phase.DONE
