"""What a plan will change: what people see before they consent to it, beside what the last such run had."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.artifact_refs import ArtifactRef
from ..core.contract import Effect, Impact
from ..core.errors import OpswrightError
from ..core.inputs import annotation_options
from ..core.plan import Plan
from ..core.registry import Registry
from ..core.workspace import Workspace
from ..record.index import LedgerIndex
from .preflight import impacts
from .record import load_plan

_LOOKED_AT = 200  # runs, newest first, among which the last one of the same goal is looked for


@dataclass(frozen=True)
class Made:
    """An artifact that a step will make: the kind of reference, under the name its result gives it."""

    step: str
    name: str
    kind: str


@dataclass(frozen=True)
class Difference:
    """A value that differs from the earlier run's: None on the side that has none."""

    where: str  # steps.model.steps, gates.release.min, budget.usd, inputs.tickets.csv
    before: str | None
    now: str | None


@dataclass(frozen=True)
class PlanChanges:
    """What consent to a plan lets happen; `earlier` is the last run with this goal, when there is one."""

    makes: tuple[Made, ...]
    endpoints: tuple[tuple[str, Impact], ...]
    waivers: Mapping[str, str]
    earlier: str | None
    differences: tuple[Difference, ...]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "makes": [one.__dict__ for one in self.makes],
            "endpoints": [{"step": step, **seen.model_dump()} for step, seen in self.endpoints],
            "waivers": dict(self.waivers),
            "earlier_run": self.earlier,
            "differences": [one.__dict__ for one in self.differences],
        }


def plan_changes(plan: Plan, run: str, registry: Registry, workspace: Workspace) -> PlanChanges:
    """What a run's plan will change; nothing is changed by asking."""
    earlier, before = _earlier(plan, run, workspace)
    return PlanChanges(
        makes=tuple(_made(plan, registry)),
        endpoints=tuple(impacts(plan, registry, workspace)),
        waivers=plan.waivers,
        earlier=earlier,
        differences=tuple(plan_differences(before, plan)) if before is not None else (),
    )


def _made(plan: Plan, registry: Registry) -> Iterator[Made]:
    for step in plan.steps:
        if step.effect is Effect.READS:
            continue
        skill = registry.get(step.skill)
        for name, field in skill.result.model_fields.items():
            for one in annotation_options(field.annotation):
                if isinstance(one, type) and issubclass(one, ArtifactRef):
                    yield Made(step.id, name, one.__name__.removesuffix("Ref"))


def _earlier(plan: Plan, run: str, workspace: Workspace) -> tuple[str | None, Plan | None]:
    """The newest run before this one that had the same goal and was begun, and its plan."""
    rows = LedgerIndex.of(workspace).rows(_LOOKED_AT)
    began = next((row.started for row in rows if row.run == run), None)
    for row in rows:
        is_earlier = began is None or row.started < began
        if row.run == run or not is_earlier or row.goal != plan.goal or row.status in _NOT_BEGUN:
            continue
        try:
            return row.run, load_plan(workspace, row.plan)
        except (OpswrightError, OSError, ValueError):
            continue  # a plan that is gone or altered compares with nothing
    return None, None


_NOT_BEGUN = ("waiting", "approved", "denied", "refused", "unreadable")


def plan_differences(before: Plan, now: Plan) -> Iterator[Difference]:
    """What differs, place by place, each once; the goal is taken to be the same on both sides."""
    old, new = dict(_places(before)), dict(_places(now))
    for where in [*new, *(place for place in old if place not in new)]:
        if old.get(where) != new.get(where):
            yield Difference(where, old.get(where), new.get(where))


def _places(plan: Plan) -> Iterator[tuple[str, str]]:
    gates = [spec.model_dump(mode="json") for spec in plan.gates.values()]
    for step in plan.steps:
        yield f"steps.{step.id}", step.skill
        for name, value in step.arguments.items():
            if value not in gates:  # a gate's step repeats the gate, which is told below
                yield f"steps.{step.id}.{name}", _text(value)
        if step.waive_gate is not None:
            yield f"steps.{step.id}.waive_gate", step.waive_gate
    for gate, spec in plan.gates.items():
        for name, value in spec.model_dump(mode="json").items():
            yield f"gates.{gate}.{name}", _text(value)
    for name, limit in plan.budget.limits.items():
        yield f"budget.{name}", f"{limit:g}"
    for name, digest in plan.inputs.items():
        yield f"inputs.{name}", digest[:12]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
