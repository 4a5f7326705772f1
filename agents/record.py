"""What a run writes into the ledger, and its state as folded from it: every record once, whatever crashes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..core.contract import Effect, JobHandle
from ..core.errors import AskError, IntegrityError, OpswrightError
from ..core.exit_code import ExitCode
from ..core.files import PRIVATE, canonical_json, sha256_json, write_atomically
from ..core.plan import Plan, StepCall
from ..core.principal import Principal
from ..core.workspace import Workspace
from ..record.index import LedgerIndex
from ..record.ledger import Entry, Ledger, Phase, Record
from ..record.run_state import AMOUNTS, CUT_SHORT, RunState
from .policy import Policy
from .run_settings import keep_settings


class RunRecord:
    """One run in the ledger, written for one principal. `state` is what its records say, others' included."""

    def __init__(self, workspace: Workspace, run_id: str, principal: Principal, policy: Policy) -> None:
        self.workspace = workspace
        self.run_id = run_id
        self.principal = principal
        self.policy = policy
        self._ledger = Ledger.of(workspace)
        self._kept_policy = ""
        self._alive_at = _last_sign_of_life(workspace, run_id)  # before this process gives one
        self._seq = self._ledger.head()[0]
        self._end: tuple[str, int] | None = None  # of the ledger when it was last read to there
        self.state = LedgerIndex.of(workspace).run_state(run_id) or RunState(run_id)
        if self.state.records:
            self._seq = max(self._seq, self.state.last.seq)

    def refresh(self) -> RunState:
        """The state with what anyone has recorded since."""
        end = self._ledger.end()
        if end == self._end:
            return self.state
        for record in self._ledger.records(after=self._seq):
            self._seq = record.seq
            if record.run == self.run_id:
                self.state.apply(record)
        self._end = end
        return self.state

    @property
    def folder(self) -> Path:
        """Where the plan's relative inputs lie."""
        return Path(str(self.state.proposal.get("folder", ".")))

    def proposed(self, plan: Plan, *, source: str, folder: Path, **detail: Any) -> None:
        """The plan, its steps and gates: written before anything runs, so no bar can move afterwards."""
        if self.refresh().proposed is not None:
            return
        stored = self.workspace.plans / f"{plan.id}.json"
        if not stored.exists():
            write_atomically(stored, plan.document(), PRIVATE)
        body = {
            "goal": plan.goal,
            "source": source,
            "folder": folder.as_posix(),
            "gates": {name: spec.model_dump(mode="json") for name, spec in plan.gates.items()},
            "inputs": plan.inputs,
            "settings": keep_settings(self.workspace),
            "steps": [{"id": s.id, "skill": s.skill, "effect": str(s.effect)} for s in plan.steps],
            **({"waivers": plan.waivers} if plan.waivers else {}),
            **detail,
        }
        self.append(Entry(Phase.PROPOSED, plan=plan.id, effect=str(plan.effect), detail=self._ruled(body)))

    def answered(self, plan: Plan, phase: Phase, *, how: str, why: str = "") -> Record:
        """This principal's approval or denial of the plan, from the moment it is given."""
        detail = {"how": how, **({"why": why} if why else {})}
        return self.append(Entry(phase, plan=plan.id, detail=self._ruled(detail)))[0]

    def begun(
        self,
        plan: Plan,
        step: StepCall,
        request: Mapping[str, Any],
        key: str,
        reserved: Mapping[str, Any],
        guard: Callable[[], None],
    ) -> str:
        """What is about to happen and what it may take; gives the idempotency key of the step.

        `guard` is asked at the last moment, when nobody can record anything in between: consent that is taken
        back before the intent stops the step.

        The first attempt's key counts for all, though code or environment changed since. What an attempt that
        a crash cut had taken is settled first.
        """
        known = self.state.steps.get(step.id)
        attempts = len(known.intents) if known is not None else 0
        earlier = known.idempotency_key if known is not None else None
        idempotency = earlier or sha256_json([self.run_id, step.id])
        entries = self._cut_attempt(plan, step)
        entries.append(Entry(Phase.RESERVED, **_call(plan, step), detail={"reserved": dict(reserved)}))
        detail = {"key": key, "idempotency_key": idempotency, "attempt": attempts + 1, "pid": os.getpid()}
        entries.append(Entry(Phase.INTENT, **_call(plan, step), request=request, detail=detail))

        def last_look() -> None:
            guard()
            detail.update(self._ruled({}))  # the policy that this look was taken by, and no older one

        self.append(*entries, guard=last_look)
        return idempotency

    def submitted(self, plan: Plan, step: StepCall, job: JobHandle) -> None:
        """A job of the step, before anything waits for it."""
        detail = {"job": job.model_dump(mode="json")}
        self.append(Entry(Phase.SUBMITTED, **_call(plan, step), detail=detail))

    def ended_step(
        self,
        phase: Phase,
        plan: Plan,
        step: StepCall,
        spent: Mapping[str, float],
        *,
        endpoints: Mapping[str, Mapping[str, float]] | None = None,
        result: Mapping[str, Any] | None = None,
        artifacts: Mapping[str, str] | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> Record:
        """How a step that was begun ended, what it took, and what of that at which endpoints."""
        return self.append(
            self._settled(plan, step, spent, endpoints=endpoints),
            Entry(phase, **_call(plan, step), result=result, artifacts=artifacts, detail=detail),
        )[-1]

    def not_begun(
        self,
        phase: Phase,
        plan: Plan,
        step: StepCall,
        guard: Callable[[], None] = lambda: None,
        **fields: Any,
    ) -> Record:
        """How a step ended that was not begun: reused, refused, or wrong before its start.

        What an attempt that a crash cut had taken is settled with it: whoever resumes later finds it so.
        """
        ended = Entry(phase, **_call(plan, step), **fields)
        return self.append(*self._cut_attempt(plan, step), ended, guard=guard)[-1]

    def ended(self, plan: Plan | None, phase: Phase, detail: Mapping[str, Any]) -> None:
        """How the run ended: a failed run may be resumed and end once more, a done one is done."""
        end = self.refresh().end
        if phase is Phase.FAILED or end is None or end.phase != Phase.DONE:
            self.append(Entry(phase, plan=plan.id if plan else None, detail=detail))

    def append(self, *entries: Entry, guard: Callable[[], None] = lambda: None) -> list[Record]:
        """Record, with one flush, and take it into the state."""
        records = self._ledger.append_all(
            [_of_run(entry, self.run_id) for entry in entries], self.principal, guard
        )
        if records[0].seq == self._seq + 1:
            for record in records:
                self.state.apply(record)
            self._seq, self._end = records[-1].seq, self._ledger.own_end
        else:
            self.refresh()
        return records

    def _ruled(self, detail: dict[str, Any]) -> dict[str, Any]:
        """The detail with the policy it was done under, whose text is kept beside the ledger."""
        digest = self.policy.digest
        if self._kept_policy != digest:
            self._ledger.keep("policies", digest, canonical_json(self.policy.document()))
            self._kept_policy = digest
        return {**detail, "policy": digest}

    def _settled(
        self,
        plan: Plan,
        step: StepCall,
        spent: Mapping[str, float],
        how: str = "",
        endpoints: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Entry:
        detail: dict[str, Any] = {"spent": _rounded(spent)}
        if endpoints:
            detail["endpoints"] = {url: _rounded(amounts) for url, amounts in endpoints.items()}
        return Entry(Phase.SETTLED, **_call(plan, step), detail=detail | ({"how": how} if how else {}))

    def _cut_attempt(self, plan: Plan, step: StepCall) -> list[Entry]:
        """What settles an attempt of the step that is open."""
        known = self.state.steps.get(step.id)
        if known is None or not known.is_open:
            return []
        return [self._settled(plan, step, self.taken_by_cut_attempt(step.id), CUT_SHORT)]

    def taken_before(self, step_id: str) -> dict[str, float]:
        """What the run took before a step is begun: with what a cut attempt of it is about to be settled."""
        known, taken = self.state.steps.get(step_id), dict(self.state.spent)
        if known is not None and known.is_open:
            for name, amount in self.taken_by_cut_attempt(step_id).items():
                taken[name] = taken.get(name, 0.0) + amount
        return taken

    def taken_by_cut_attempt(self, step_id: str) -> dict[str, float]:
        """What an attempt without an outcome took: its time until the run's last sign of life.

        Whatever else was reserved counts as taken. Without a sign of life, the reserved time does too.
        """
        step = self.state.steps[step_id]
        taken = {name: step.reserved.get(name, 0.0) for name in AMOUNTS}
        began = datetime.fromisoformat(step.intents[-1].time)
        if self._alive_at is not None and self._alive_at >= began:
            taken["minutes"] = (self._alive_at - began).total_seconds() / 60
        return taken


def _rounded(amounts: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 9) for name, value in amounts.items()}


def _last_sign_of_life(workspace: Workspace, run_id: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(sign_of_life(workspace, run_id).stat().st_mtime, UTC)
    except OSError:
        return None


def sign_of_life(workspace: Workspace, run_id: str) -> Path:
    """The file that whoever carries a run out touches every second or so."""
    return workspace.run_folder(run_id) / "alive"


def _of_run(entry: Entry, run: str) -> Entry:
    from dataclasses import replace

    return replace(entry, run=run)


def _call(plan: Plan, step: StepCall) -> dict[str, Any]:
    return {"step": step.id, "skill": step.skill, "effect": str(step.effect), "plan": plan.id}


def load_plan(workspace: Workspace, plan_id: str) -> Plan:
    """A recorded plan; IntegrityError when the file is gone or no longer hashes to its id."""
    path = workspace.plans / f"{plan_id}.json"
    if not path.exists():
        raise IntegrityError(
            f"the recorded plan {plan_id[:12]} is gone from {path.parent}. Restore it to go on."
        )
    try:
        plan = Plan.from_document(json.loads(path.read_bytes()))
    except (AskError, ValueError) as error:
        raise IntegrityError(f"{path} does not read as a plan ({error}). Restore it to go on.") from error
    if plan.id != plan_id:
        raise IntegrityError(
            f"{path} holds plan {plan.id[:12]}, recorded was {plan_id[:12]}. Restore it to go on."
        )
    return plan


def error_detail(error: BaseException) -> dict[str, Any]:
    """An error as records keep it."""
    family = error.family if isinstance(error, OpswrightError) else type(error).__name__
    code = error.exit_code if isinstance(error, OpswrightError) else ExitCode.FAILED
    if isinstance(error, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    return {"error": {"family": family, "message": str(error)[:4000]}, "exit_code": code}


def effect_phase(effect: Effect, result: Mapping[str, Any]) -> Phase:
    """The phase of a finished step: a serving step that took a release back says so."""
    return Phase.ROLLED_BACK if effect is Effect.SERVES and result.get("rolled_back") else Phase.DONE
