"""Pre-flight: what could stop a plan, found before anything runs and without changing anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.artifact_refs import ArtifactRef, PendingArtifact, parse_ref
from ..core.compile import stand_in
from ..core.contract import Cost, Effect, Finding, Impact
from ..core.errors import OpswrightError
from ..core.exit_code import ExitCode
from ..core.gate_order import unjudged_models
from ..core.inputs import annotation_options
from ..core.machine import Machine
from ..core.plan import Plan, StepCall, references
from ..core.principal import Ruling
from ..core.registry import Registry
from ..core.workspace import Workspace
from ..record.run_state import RunState
from . import budget
from .judgement import judgement_on
from .month_budget import months_left
from .policy import policy_of
from .prices import gpu_price, priced
from .steps import HOW_TO_SERVE, request_at

_QUICK = Cost(minutes=0, gpu_hours=0, disk_bytes=0, usd=0)  # a skill that may take longer has an estimate


@dataclass(frozen=True)
class Preflight:
    """What was found, by step ('' for the whole plan), and what each step is expected to take.

    A step whose cost depends on what an earlier step makes is not in `costs`: it is judged before it starts.
    """

    findings: tuple[tuple[str, Finding], ...]
    costs: dict[str, Cost]
    over_budget: tuple[str, ...]
    not_judged: tuple[str, ...] = ()

    @property
    def recorded_costs(self) -> dict[str, dict[str, float | int | None]]:
        """The costs as records and the policy have them."""
        return {step: cost.model_dump() for step, cost in self.costs.items()}

    @property
    def stops(self) -> list[str]:
        """The findings that refuse the plan, as sentences."""
        return [
            f"{step or 'plan'}: {f.message}" + (f" {f.fix}" if f.fix else "")
            for step, f in self.findings
            if f.level == "stop"
        ]


def refusal(found: Preflight, ruling: Ruling) -> tuple[int, list[str]]:
    """The exit code of a run that is refused before its first step, and why; 0 for one that may begin.

    ruling: whether the policy lets whoever asks propose the plan.
    """
    if not ruling.allowed:
        return ExitCode.DENIED, [ruling.message]
    if found.stops:
        return 1, found.stops
    if found.not_judged:
        return ExitCode.DENIED, list(found.not_judged)
    return (ExitCode.BUDGET, list(found.over_budget)) if found.over_budget else (0, [])


def preflight(
    plan: Plan,
    registry: Registry,
    workspace: Workspace,
    folder: Path,
    run: RunState | None = None,
    person: str | None = None,
) -> Preflight:
    """Every step's own checks and estimate, the gates before serving, and the budgets.

    folder: where the plan's relative inputs lie. person: who proposes it; a plan that does not fit what a
    month's budgets have left is no fault, since another month may come before it runs, but is warned of.
    """
    machine = Machine.here(workspace.root)
    findings: list[tuple[str, Finding]] = []
    costs: dict[str, Cost] = {}
    price = None
    try:
        price = gpu_price(workspace.settings.prices)
    except OpswrightError as error:
        findings.append(("", Finding(level="stop", message=str(error))))
    for step in plan.steps:
        found, cost = _of_step(plan, step, registry, workspace, machine, folder)
        findings += [(step.id, finding) for finding in found]
        if cost is not None:
            costs[step.id] = priced(cost, price)
    if person is not None:
        left = months_left(workspace, policy_of(workspace, registry), person)
        beyond = [sentence for one in left for sentence in one.over(costs)]
        findings += [("", Finding(level="warn", message=f"would not begin: {text}")) for text in beyond]
    judgements = list(_judgements(plan, registry, workspace, run or RunState("")))
    not_judged = tuple(message for _, allowed, message in judgements if not allowed)
    findings += [(step, Finding(level="ok", message=told)) for step, allowed, told in judgements if allowed]
    findings += [
        (step, Finding(level="warn", message=f"gate waived: {reason}"))
        for step, reason in plan.waivers.items()
    ]
    return Preflight(tuple(findings), costs, tuple(budget.over(plan.budget, costs)), not_judged)


def _judgements(
    plan: Plan, registry: Registry, workspace: Workspace, run: RunState
) -> Iterator[tuple[str, bool, str]]:
    """For each step that serves what no gate of this plan judges: whether an earlier gate did, in words."""
    skills = {step.id: registry.get(step.skill) for step in plan.steps}
    open_models = dict(unjudged_models(plan.steps, skills))
    for step in plan.steps:
        if step.waive_gate is not None or step.id not in open_models:
            continue
        named = [parse_ref(model) for model in open_models[step.id] if not model.startswith("${")]
        try:
            judgements = [judgement_on(workspace, [ref], run) for ref in named]
        except OpswrightError as error:
            yield step.id, False, str(error)
            continue
        if good := next((one for one in judgements if one.allowed), None):
            yield step.id, True, good.message
        else:
            why = judgements[0].message if judgements else "no gate of the plan judges what it serves"
            yield step.id, False, f"step {step.id} may not serve: {why}. {HOW_TO_SERVE}"


def impacts(plan: Plan, registry: Registry, workspace: Workspace) -> list[tuple[str, Impact]]:
    """What users of endpoints get before and after each step that changes it, by step id; never raises.

    What comes before a step is what an earlier step on the same endpoint leaves.
    """
    found: list[tuple[str, Impact]] = []
    for step in plan.steps:
        skill = registry.get(step.skill)
        if skill.impact is None:
            continue
        try:
            seen = skill.impact(step.arguments, workspace)
        except Exception as error:  # a plan must be shown to a person whatever a skill's author forgot
            message = f"not known: {type(error).__name__}: {error}"
            seen = Impact(endpoint=str(step.arguments.get("endpoint", "")), before=message, after=message)
        earlier = next((other for other, o in reversed(found) if o.endpoint == seen.endpoint), None)
        if earlier is not None:
            seen = seen.model_copy(update={"before": f"what step '{earlier}' leaves (now: {seen.before})"})
        found.append((step.id, seen))
    return found


def _of_step(
    plan: Plan, step: StepCall, registry: Registry, workspace: Workspace, machine: Machine, folder: Path
) -> tuple[list[Finding], Cost | None]:
    """A step's findings, and its cost unless that depends on what an earlier step makes."""
    skill = registry.get(step.skill)
    request = request_at(skill, stand_in(step.arguments, plan, registry), folder)
    found: list[Finding] = []
    try:
        for finding in skill.preflight(request, machine, workspace) if skill.preflight else ():
            if finding.unless_changed and _may_have_changed(plan, step, finding.unless_changed, registry):
                finding = Finding(level="ok", message=f"checked when it runs; now {finding.message}")
            found.append(finding)  # one by one: those before an error count
    except PendingArtifact as error:
        found.append(Finding(level="ok", message=f"checked when it runs: {error}."))
    except OpswrightError as error:
        found.append(Finding(level="stop", message=str(error)))
    if skill.estimate is not None and _takes_values_to_come(plan, step, registry):
        return found, None
    try:
        return found, skill.estimate(request, machine, workspace) if skill.estimate else _QUICK
    except PendingArtifact:
        return found, None
    except OpswrightError:
        return found, Cost()


def _may_have_changed(plan: Plan, step: StepCall, argument: str, registry: Registry) -> bool:
    """Whether a step before this one changes what users get of what the argument names, or may."""

    def names(one: StepCall) -> Any:
        """None: not known before it runs."""
        value = one.arguments.get(argument)
        return None if next(references({argument: value}), None) is not None else value

    wanted = names(step)
    return wanted is None or any(
        registry.get(other.skill).effect is Effect.SERVES and names(other) in (None, wanted)
        for other in plan.steps[: plan.steps.index(step)]
    )


def _takes_values_to_come(plan: Plan, step: StepCall, registry: Registry) -> bool:
    """Whether a step takes a plain value that an earlier step has yet to give: what it costs is not known."""
    makers = {one.id: registry.get(one.skill) for one in plan.steps}
    for _, maker, field in references(step.arguments):
        options = annotation_options(makers[maker].result.model_fields[field].annotation)
        if not any(isinstance(one, type) and issubclass(one, ArtifactRef) for one in options):
            return True
    return False
