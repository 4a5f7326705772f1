"""Runs one step: policy, receipt, intent record, the skill inside one error boundary, outcome record."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ..core.artifacts import ArtifactRef, parse_ref
from ..core.contract import Events, NullEvents, Result, Skill, StepContext
from ..core.errors import BackendError, BudgetError, OpswrightError, from_os_error
from ..core.files import canonical_json, files_below, sha256_file, sha256_json
from ..core.plan import Plan, StepCall, bind
from ..core.registry import Registry
from ..core.workspace import Workspace
from ..record.ledger import Phase, Record
from . import budget, policy
from .preflight import estimate_step
from .record import RunRecord, effect_phase, error_detail


@dataclass
class StepRunner:
    """Carries out the steps of one run."""

    workspace: Workspace
    registry: Registry
    record: RunRecord
    events: Events = field(default_factory=NullEvents)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def run(
        self,
        plan: Plan,
        step: StepCall,
        results: Mapping[str, Mapping[str, Any]],
        approved_plan: str | None,
        spent_s: float,
    ) -> dict[str, Any]:
        """The step's result as plain JSON; raises a member of the error family, after it was recorded.

        `spent_s` is what earlier steps of this run took, in seconds, held against the plan's budget.
        """
        if earlier := self.record.finished(step.id):
            return dict(earlier.detail["result"])
        arguments = bind(step.arguments, results)
        skill = self.registry.get(step.skill)
        key = receipt_key(skill, arguments, {path: plan.inputs[path] for path in step.inputs})
        started = time.monotonic()
        self.events.begun(step.id, step.skill)
        try:
            policy.check_step(plan, step, self.workspace.settings.role, approved_plan)
        except OpswrightError as error:
            self.record.outcome(Phase.DENIED, plan, step, detail=error_detail(error))
            raise
        try:
            ask = skill.parse(arguments)
            reusable = skill.may_reuse(ask)
            if reusable and (reused := self._reuse(plan, step, arguments, key)):
                self.events.ended(step.id, Phase.REUSED, time.monotonic() - started)
                return reused
            self._check_budget(plan, step, arguments, spent_s)
            ctx = self._context(plan, step, key, spent_s)
            ctx.check()
            self.record.intent(plan, step, arguments, key)
            result = _call(skill, ask, ctx)
        except BaseException as error:
            seconds = round(time.monotonic() - started, 3)
            self.events.ended(step.id, Phase.FAILED, seconds)
            self.record.outcome(Phase.FAILED, plan, step, detail={**error_detail(error), "seconds": seconds})
            raise
        return self._finish(plan, step, key, reusable, result, ctx, time.monotonic() - started)

    def _finish(
        self,
        plan: Plan,
        step: StepCall,
        key: str,
        reusable: bool,
        result: Result,
        ctx: StepContext,
        seconds: float,
    ) -> dict[str, Any]:
        plain = result.model_dump(mode="json")
        phase = effect_phase(step.effect, plain)
        record = self.record.outcome(
            phase,
            plan,
            step,
            result=plain,
            artifacts=artifacts_in(result),
            detail={"seconds": round(seconds, 3), "metrics": ctx.metrics, "key": key},
        )
        if reusable:
            _write_receipt(self.workspace, key, record)
        self.events.ended(step.id, phase, seconds)
        return plain

    def _reuse(
        self, plan: Plan, step: StepCall, arguments: dict[str, Any], key: str
    ) -> dict[str, Any] | None:
        """The result of the same call done before, when all it made is still there and whole."""
        if (receipt := _read_receipt(self.workspace, key)) is None:
            return None
        artifacts = receipt["artifacts"]
        try:
            for ref in artifacts.values():
                self.workspace.artifacts.open(parse_ref(ref))
        except OpswrightError as error:
            self.events.log(step.id, f"not reused, made again: {error}")
            return None
        self.record.outcome(
            Phase.REUSED,
            plan,
            step,
            request=arguments,
            result=receipt["result"],
            artifacts=artifacts,
            detail={"receipt": receipt["seq"], "key": key},
        )
        self.events.log(step.id, f"reused: the same call is record {receipt['seq']} of the ledger")
        return dict(receipt["result"])

    def _check_budget(self, plan: Plan, step: StepCall, arguments: dict[str, Any], spent_s: float) -> None:
        limits = plan.budget
        if limits.minutes is None and limits.gpu_hours is None and limits.usd is None:
            return
        left = limits
        if limits.minutes is not None:
            left = limits.model_copy(update={"minutes": max(0.0, limits.minutes - spent_s / 60)})
        cost = estimate_step(step, arguments, self.registry, self.workspace)
        if sentences := budget.over(left, {step.id: cost}):
            raise BudgetError(f"after {spent_s / 60:.1f} minutes, {'; '.join(sentences)}")

    def _context(self, plan: Plan, step: StepCall, key: str, spent_s: float) -> StepContext:
        workdir = self.workspace.run_folder(self.record.run_id) / "steps" / step.id
        workdir.mkdir(parents=True, exist_ok=True)
        deadline = None
        if plan.budget.minutes is not None:
            deadline = time.monotonic() + plan.budget.minutes * 60 - spent_s
        return StepContext(
            workspace=self.workspace,
            run_id=self.record.run_id,
            step_id=step.id,
            idempotency_key=idempotency_key(self.record.run_id, step.id, key),
            workdir=workdir,
            events=self.events,
            deadline=deadline,
            cancelled=self.cancelled,
        )


def _call(skill: Skill[Any, Any], ask: Any, ctx: StepContext) -> Result:
    """The one place where what a skill raises becomes a member of the family."""
    try:
        result: object = skill(ask, ctx)
    except OpswrightError:
        raise
    except OSError as error:
        raise from_os_error(error, f"{skill.name} ran") from error
    except Exception as error:
        raise BackendError(f"{skill.name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(result, skill.result) or not isinstance(result, Result):
        raise BackendError(f"{skill.name} gave {type(result).__name__}, declared is {skill.result.__name__}")
    return result


def artifacts_in(result: Result) -> dict[str, str]:
    """The references among a result's fields, by field."""
    return {
        name: str(value)
        for name in type(result).model_fields
        if isinstance(value := getattr(result, name), ArtifactRef)
    }


def idempotency_key(run_id: str | None, step_id: str, key: str) -> str:
    """What a skill that changes outside state knows a repeated call by: run, step and receipt key."""
    return sha256_json([run_id, step_id, key])


def receipt_key(skill: Skill[Any, Any], arguments: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """What makes two calls the same: skill, arguments, the digests of outside inputs, and the code."""
    return sha256_json([skill.name, arguments, inputs, code_version(skill.function.__module__)])


@cache
def code_version(module: str) -> str:
    """The digest of the Python sources of a module's top-level package.

    Coarse on purpose: any change of the code makes receipts stale, none can slip through.
    """
    package = import_module(module.partition(".")[0])
    if package.__file__ is None or not hasattr(package, "__path__"):
        source = import_module(module).__file__
        return sha256_file(Path(source)) if source else module
    root = Path(package.__file__).parent
    rooms = [root / name for name in ("core", "evals", "serving", "skills")]
    folders = [room for room in rooms if room.is_dir()] or [root]
    return sha256_json(
        {
            f"{folder.name}/{name}": sha256_file(path)
            for folder in folders
            for name, path in files_below(folder).items()
            if path.suffix == ".py"
        }
    )


def _receipt_path(workspace: Workspace, key: str) -> Path:
    return workspace.receipts / f"{key}.json"


def _write_receipt(workspace: Workspace, key: str, record: Record) -> None:
    """Keep what a finished call gave; a receipt lost in a crash only means the call is made again."""
    receipt = {
        "seq": record.seq,
        "hash": record.hash,
        "result": record.detail["result"],
        "artifacts": dict(record.artifacts),
    }
    path = _receipt_path(workspace, key)
    temporary = path.with_suffix(f".{threading.get_ident()}.tmp")
    temporary.write_bytes(canonical_json({**receipt, "digest": sha256_json(receipt)}))
    temporary.replace(path)


def _read_receipt(workspace: Workspace, key: str) -> dict[str, Any] | None:
    try:
        receipt = json.loads(_receipt_path(workspace, key).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(receipt, dict) or receipt.pop("digest", None) != sha256_json(receipt):
        return None
    return receipt
