"""Pre-flight: what could stop a plan, found before anything runs and without changing anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.artifacts import PendingArtifact
from ..core.contract import Cost, Finding, Impact
from ..core.errors import OpswrightError
from ..core.machine import Machine
from ..core.plan import Plan, StepCall, stand_in
from ..core.registry import Registry
from ..core.workspace import Workspace
from . import budget, policy

_QUICK = Cost(
    minutes=0, gpu_hours=0, disk_bytes=0, usd=0
)  # a skill that may take longer declares an estimate


@dataclass(frozen=True)
class Preflight:
    """What was found, by step ('' for the whole plan), and what each step is expected to take.

    A step whose cost depends on what an earlier step makes is not in `costs`: it is judged before it starts.
    """

    findings: tuple[tuple[str, Finding], ...]
    costs: dict[str, Cost]
    over_budget: tuple[str, ...]

    @property
    def stops(self) -> list[str]:
        """The findings that refuse the plan, as sentences."""
        return [
            f"{step or 'plan'}: {f.message}" + (f" {f.fix}" if f.fix else "")
            for step, f in self.findings
            if f.level == "stop"
        ]


def preflight(plan: Plan, registry: Registry, workspace: Workspace) -> Preflight:
    """Every step's own checks and estimate, the actor's role, and the budget."""
    machine = Machine.here(workspace.root)
    findings = [
        ("", Finding(level="stop", message=sentence))
        for sentence in policy.refusals(plan, workspace.settings.role)
    ]
    costs: dict[str, Cost] = {}
    for step in plan.steps:
        found, cost = _of_step(plan, step, registry, workspace, machine)
        findings += [(step.id, finding) for finding in found]
        if cost is not None:
            costs[step.id] = cost
    return Preflight(tuple(findings), costs, tuple(budget.over(plan.budget, costs)))


def estimate_step(step: StepCall, bound: dict[str, Any], registry: Registry, workspace: Workspace) -> Cost:
    """What a step is expected to take, now that its arguments are known."""
    skill = registry.get(step.skill)
    if skill.estimate is None:
        return _QUICK
    return skill.estimate(skill.parse(bound), Machine.here(workspace.root), workspace)


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
    plan: Plan, step: StepCall, registry: Registry, workspace: Workspace, machine: Machine
) -> tuple[list[Finding], Cost | None]:
    """A step's findings, and its cost unless that depends on what an earlier step makes."""
    skill = registry.get(step.skill)
    request = skill.parse(stand_in(step.arguments, plan, registry))
    found: list[Finding] = []
    try:
        found = list(skill.preflight(request, machine, workspace)) if skill.preflight else []
    except PendingArtifact as error:
        found = [Finding(level="ok", message=f"checked when it runs: {error}.")]
    except OpswrightError as error:
        found = [Finding(level="stop", message=str(error))]
    try:
        return found, skill.estimate(request, machine, workspace) if skill.estimate else _QUICK
    except PendingArtifact:
        return found, None
    except OpswrightError:
        return found, Cost()
