"""Runs one step: policy, receipt, reservation, intent, the skill inside one error boundary, outcome."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ..core.artifact_refs import parse_ref
from ..core.contract import Cost, Effect, Events, NullEvents, Result, Skill, StepContext
from ..core.errors import (
    BackendError,
    BudgetError,
    DeniedError,
    HeldError,
    IntegrityError,
    OpswrightError,
    StoppedError,
    from_os_error,
)
from ..core.files import canonical_json
from ..core.inputs import outside_paths
from ..core.machine import Machine
from ..core.plan import Plan, StepCall, bind, put, thaw
from ..core.price_table import GpuPrice
from ..core.references import artifacts_in
from ..core.registry import Registry
from ..core.workspace import Workspace
from ..record.ledger import Phase
from . import budget
from .judgement import had_before, is_all_of, judgement_on
from .month_budget import MonthSpending
from .policy import policy_of
from .prices import gpu_price, priced, priced_spending
from .receipts import find_receipt, is_whole, receipt_key, write_receipt
from .record import RunRecord, effect_phase, error_detail
from .redaction import redacted
from .run_settings import changed_settings

_QUICK = Cost(minutes=0, gpu_hours=0, disk_bytes=0, usd=0)  # a skill that may take longer has an estimate

HOW_TO_SERVE = (
    "Give the plan a gate before it, or say why none is needed: `waive_gate: <reason>` in the plan file, "
    "--waive-gate on the command line."
)


@dataclass
class _Attempt:
    """One call of a skill while it is prepared and made."""

    plan: Plan
    step: StepCall
    skill: Skill[Any, Any]
    arguments: dict[str, Any]
    request: Any
    key: str
    served: tuple[str, ...] = ()  # the models that were held against judgement
    price: GpuPrice | None = None  # of the GPUs it runs on
    cost: Cost | None = None  # what it is expected to take, where a budget asks
    reserved: dict[str, float] = field(default_factory=dict)
    context: StepContext | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def spent(self) -> dict[str, float]:
        """What it took: its time, what the skill told of the rest, else what was reserved for it."""
        told = self.context.spent if self.context is not None else {}
        return {**priced_spending(told, self.reserved, self.price), "minutes": self.seconds / 60}


@dataclass
class StepRunner:
    """Carries out the steps of one run."""

    workspace: Workspace
    registry: Registry
    record: RunRecord
    events: Events = field(default_factory=NullEvents)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._month = MonthSpending(self.workspace)
        self._has_looked_ahead = False  # consent to a plan one of whose inputs changed begins nothing

    def run(self, plan: Plan, step: StepCall) -> None:
        """Carry a step out; raises a member of the error family, after it was recorded."""
        self.events.begun(step.id, step.skill)
        started = time.monotonic()
        try:
            attempt = self._prepared(plan, step)
            if attempt.skill.may_reuse(attempt.request) and self._reuse(attempt):
                self.events.ended(step.id, Phase.REUSED, attempt.seconds)
                return
            self._reserve(attempt)
        except BaseException as error:
            self.events.ended(step.id, Phase.FAILED, time.monotonic() - started)
            self.record.not_begun(_phase_of(error), plan, step, detail=error_detail(error))
            raise
        self._carry_out(attempt)

    def _prepared(self, plan: Plan, step: StepCall) -> _Attempt:
        """The call, once everything that could forbid it was asked."""
        state = self.record.refresh()
        arguments = bind(step.arguments, state.results)
        skill = self.registry.get(step.skill)
        self._check_may_run(plan, step)
        self._check_inputs(plan, step)
        if step.effect is not Effect.READS and not self._has_looked_ahead:
            for later in plan.steps:
                if later.id not in state.results and later.id != step.id:
                    self._check_inputs(plan, later)
            self._has_looked_ahead = True
        request = request_at(skill, arguments, self.record.folder)
        served: tuple[str, ...] = ()
        if step.effect is Effect.SERVES:
            served = self._check_judged(step, request)
        inputs = {path: plan.inputs[path] for path in step.inputs}
        key = receipt_key(skill, arguments, inputs, self.workspace)
        return _Attempt(plan, step, skill, arguments, request, key, served)

    def _ask_again(self, attempt: _Attempt) -> None:
        """The policy once more, with every record there is: consent may have been taken back since."""
        self.record.refresh()
        self._check_may_run(attempt.plan, attempt.step)

    def _check_inputs(self, plan: Plan, step: StepCall, when: str = "since the plan was made") -> None:
        """IntegrityError for an outside input that is no longer what the plan was made from."""
        if changed := plan.changed_inputs(step, self.record.folder, when):
            raise IntegrityError(f"step {step.id}: {'; '.join(changed)}. Plan again and have that approved.")

    def _check_may_run(self, plan: Plan, step: StepCall) -> None:
        """DeniedError without right, HeldError without consent, IntegrityError for a forged effect."""
        self.record.policy = policy_of(self.workspace, self.registry)  # as it is now, hours into a run too
        policy, state = self.record.policy, self.record.state
        if policy.effect_of(step) is not step.effect:
            raise IntegrityError(
                f"step {step.id}: the plan says that {step.skill} {step.effect.in_words}, but the skill "
                f"{policy.effect_of(step).in_words}. The plan was forged or the skill changed: plan again."
            )
        policy.may_run(
            self.record.principal,
            plan,
            step,
            state.approvals,
            datetime.now(UTC),
            state.proposer,
            state.proposal.get("costs"),
        ).check()
        if step.effect is not Effect.READS and (changed := changed_settings(self.workspace, state)):
            raise IntegrityError(
                f"step {step.id}: {'; '.join(changed)}. Consent was given to what the settings were: put "
                "them back, or plan again and have that approved."
            )

    def _check_judged(self, step: StepCall, request: Any) -> tuple[str, ...]:
        """What the step would serve; DeniedError when no gate judged it GO and the plan names no waiver."""
        whole = is_all_of(self.workspace, self.record.state)
        if not whole and not is_all_of(self.workspace, self.record.refresh()):  # nobody acted just now
            raise IntegrityError(
                f"step {step.id}: the ledger has other records of this run than its index tells of. "
                f"Remove {self.workspace.root / 'index'}, which is made anew, and resume."
            )
        skill = self.registry.get(step.skill)
        served = skill.served(request, self.workspace)
        if skill.restores:
            judgement = had_before(self.workspace, request.endpoint, served)
        else:
            judgement = judgement_on(self.workspace, served, self.record.state)
        if judgement.allowed:
            if judgement.message:
                self.events.log(step.id, judgement.message)
        elif step.waive_gate is not None:
            self.events.log(step.id, f"gate waived ({step.waive_gate}): {judgement.message}")
        else:
            raise DeniedError(f"step {step.id} may not serve: {judgement.message}. {HOW_TO_SERVE}")
        return tuple(map(str, served))

    def _reuse(self, attempt: _Attempt) -> bool:
        """Let the same call done before stand for this one, when all it made is still there and whole."""
        plan, step = attempt.plan, attempt.step
        if (earlier := find_receipt(self.workspace, step.skill, attempt.key)) is None:
            return False
        if why := is_whole(self.workspace, earlier):
            self.events.log(step.id, f"not reused, made again: {why}")
            return False
        self.record.not_begun(
            Phase.REUSED,
            plan,
            step,
            request=attempt.arguments,
            result=earlier.detail["result"],
            artifacts=earlier.artifacts,
            detail={
                "receipt": earlier.seq,
                "receipt_hash": earlier.hash,
                "key": attempt.key,
                "policy": self.record.policy.digest,
            },
            guard=partial(self._ask_again, attempt),
        )
        self.events.log(step.id, f"reused: the same call is record {earlier.seq} of the ledger")
        return True

    def _reserve(self, attempt: _Attempt) -> None:
        """What the step is expected to take, held against what is left; BudgetError when it does not fit."""
        plan, step = attempt.plan, attempt.step
        if self.cancelled.is_set():
            raise StoppedError(
                f"step {step.id} was not begun: the run was stopped by a person; "
                f"`opswright resume {self.record.run_id}` continues the run."
            )
        limits, taken = plan.budget.limits, self.record.taken_before(step.id)
        attempt.price = gpu_price(self.workspace.settings.prices)
        if not limits and not self._month.limits(self.record):
            return
        for name, limit in limits.items():
            if taken.get(name, 0.0) > 0 and taken[name] >= limit:
                raise BudgetError(
                    f"step {step.id} was not begun: {budget.in_words(taken)} spent, and the plan's budget is "
                    f"{budget.in_words(limits)}. What was done is kept."
                )
        machine, estimate = Machine.here(self.workspace.root), attempt.skill.estimate
        found = estimate(attempt.request, machine, self.workspace) if estimate is not None else _QUICK
        cost = priced(found, attempt.price)
        if sentences := budget.over(budget.left(plan.budget, taken), {step.id: cost}):
            spent = budget.in_words(taken)
            raise BudgetError(f"step {step.id} was not begun ({spent} spent): {'; '.join(sentences)}")
        attempt.cost = cost
        self._month.check_step(self.record, step.id, cost)
        attempt.reserved = {name: float(value) for name, value in cost.amounts.items() if value is not None}

    def _before_intent(self, attempt: _Attempt) -> None:
        """What is asked while nobody else can record anything: the policy, and the month's budgets."""
        self._ask_again(attempt)
        self._month.check_step(self.record, attempt.step.id, attempt.cost or Cost())

    def _carry_out(self, attempt: _Attempt) -> None:
        plan, step = attempt.plan, attempt.step
        attempt.began = time.monotonic()
        try:
            idempotency = self.record.begun(
                plan,
                step,
                attempt.arguments,
                attempt.key,
                attempt.reserved,
                partial(self._before_intent, attempt),
            )
        except HeldError as error:
            self.events.ended(step.id, Phase.FAILED, attempt.seconds)
            self.record.not_begun(_phase_of(error), plan, step, detail=error_detail(error))
            raise
        attempt.context = context = self._context(attempt, idempotency)
        try:
            context.check()
            result = _call(attempt.skill, attempt.request, context)
            self._check_inputs(plan, step, "while the step ran")
            plain = _plain(attempt.skill, result, context)
            phase = effect_phase(step.effect, plain)
            detail = {
                "seconds": round(attempt.seconds, 3),
                "metrics": context.metrics,
                "key": attempt.key,
                **({"compute": context.job.backend} if context.job is not None else {}),
            }
            detail = context.redactor.plain(detail)
            record = self.record.ended_step(
                phase,
                plan,
                step,
                attempt.spent(),
                endpoints=context.endpoints,
                result=plain,
                artifacts=artifacts_in(result),
                detail=detail,
            )
        except BaseException as error:
            self.events.ended(step.id, Phase.FAILED, attempt.seconds)
            told = redacted(error, context.redactor)
            detail = {**error_detail(told), "seconds": round(attempt.seconds, 3)}
            took, where = attempt.spent(), context.endpoints
            self.record.ended_step(Phase.FAILED, plan, step, took, endpoints=where, detail=detail)
            raise told from told.__cause__
        if phase is Phase.DONE and attempt.skill.may_reuse(attempt.request):
            write_receipt(self.workspace, attempt.key, record)
        self.events.ended(step.id, phase, attempt.seconds)

    def _context(self, attempt: _Attempt, idempotency_key: str) -> StepContext:
        plan, step, state = attempt.plan, attempt.step, self.record.state
        steps = self.workspace.run_folder(self.record.run_id) / "steps"
        workdir = steps / step.id
        if not workdir.resolve().is_relative_to(steps.resolve()):
            raise IntegrityError(f"step id {step.id!r} leads out of the run's folder. The plan was forged.")
        workdir.mkdir(parents=True, exist_ok=True)
        deadline = None
        if plan.budget.minutes is not None:
            left = plan.budget.minutes - state.spent.get("minutes", 0.0)
            deadline = time.monotonic() + left * 60
        known = state.steps.get(step.id)
        return StepContext(
            workspace=self.workspace,
            run_id=self.record.run_id,
            step_id=step.id,
            idempotency_key=idempotency_key,
            workdir=workdir,
            events=self.events,
            deadline=deadline,
            cancelled=self.cancelled,
            job=known.job if known is not None else None,
            served=attempt.served if step.effect is Effect.SERVES else None,
            on_submit=partial(self.record.submitted, plan, step),
            plan_id=plan.id,
        )


def _phase_of(error: BaseException) -> Phase:
    """How a step ended that an error kept from beginning: denied by a person or a rule, or failed."""
    was_denied = isinstance(error, HeldError) and not isinstance(error, BudgetError | StoppedError)
    return Phase.DENIED if was_denied else Phase.FAILED


def request_at(skill: Skill[Any, Any], arguments: Mapping[str, Any], folder: Path) -> Any:
    """The request of bound arguments, its relative inputs as paths below the folder the plan was made in."""
    request = skill.parse(dict(arguments))
    if folder.resolve() == Path.cwd():
        return request
    moved = [(place, path) for place, path in outside_paths(request) if not path.is_absolute()]
    placed = thaw(arguments)
    for place, path in moved:
        placed = put(placed, place, (folder / path).as_posix())
    return skill.parse(placed) if moved else request


def _call(skill: Skill[Any, Any], request: Any, context: StepContext) -> Result:
    """The one place where what a skill raises becomes a member of the family."""
    try:
        result: object = skill(request, context)
    except OpswrightError:
        raise
    except OSError as error:
        raise from_os_error(error, f"{skill.name} ran") from error
    except (Exception, SystemExit) as error:  # a skill does not end the process
        raise BackendError(f"{skill.name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(result, skill.result) or not isinstance(result, Result):
        raise BackendError(f"{skill.name} gave {type(result).__name__}, declared is {skill.result.__name__}")
    try:  # whatever way it was made
        checked: Result = skill.result.model_validate(result.model_dump())
    except ValueError as error:
        raise BackendError(f"{skill.name} gave a result that is not what it declares: {error}") from error
    return checked


def _plain(skill: Skill[Any, Any], result: Result, context: StepContext) -> dict[str, Any]:
    """The result as plain JSON without secrets; BackendError for what no record can hold."""
    store = context.artifacts
    for name, text in artifacts_in(result).items():
        if not (store.folder(parse_ref(text)) / "artifact.json").is_file():
            raise BackendError(f"{skill.name} gave {name} {text[:24]}, which is not in the workspace.")
    try:
        plain: dict[str, Any] = context.redactor.plain(result.model_dump(mode="json"))
    except Exception as error:  # a value that pydantic cannot write as JSON
        raise BackendError(f"{skill.name} gave what is not plain JSON: {error}") from error
    wrong = [f"metric {name}" for name, value in context.metrics.items() if not math.isfinite(value)]
    wrong += [f"result field {name}" for name, value in plain.items() if not _is_json(value)]
    wrong += [f"spent {name}" for name, value in context.spent.items() if not math.isfinite(value)]
    if wrong:
        context.metrics = {n: v for n, v in context.metrics.items() if math.isfinite(v)}
        context.spent = {n: v for n, v in context.spent.items() if math.isfinite(v)}
        made = ", ".join(artifacts_in(result).values())
        kept = f" What it made is kept: {made}." if made else f" Its work folder is kept: {context.workdir}."
        raise BackendError(
            f"{skill.name} gave what no record can hold: {', '.join(wrong)} is not a finite number or not "
            f"plain JSON.{kept}"
        )
    return plain


def _is_json(value: Any) -> bool:
    try:
        canonical_json(value)
    except OpswrightError:
        return False
    return True
