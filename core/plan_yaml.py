"""A compiled plan as the YAML of a plan file, for a person to read and change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .check_compiled import decompiled
from .plan import Plan, thaw
from .registry import Registry

_WIDTH = 100


def plan_yaml(plan: Plan, registry: Registry) -> str:
    """The plan file that compiles to this plan; an argument at its default is left out."""
    import yaml

    text = decompiled(plan)
    steps: dict[str, Any] = {}
    for step in text.steps:
        body: dict[str, Any] = {"skill": step.skill}
        if arguments := _chosen(step.skill, step.arguments, registry):
            body["with"] = arguments
        if step.gate is not None:
            body["gate"] = step.gate
        if step.waive_gate is not None:
            body["waive_gate"] = step.waive_gate
        steps[step.id] = body
    budget = {name: value for name, value in text.budget.items() if value is not None}
    gates = {name: _without_none(spec) for name, spec in text.gates.items()}
    document = {"goal": text.goal, "budget": budget, "gates": gates, "steps": steps}
    kept = {name: value for name, value in document.items() if value}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=_WIDTH)


def _chosen(skill: str, arguments: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """The arguments that are not what the skill takes by itself."""
    plain: dict[str, Any] = thaw(arguments)
    if skill not in registry:
        return plain
    fields = registry.get(skill).request.model_fields
    bare = registry.get(skill).request.model_construct().model_dump(mode="json", warnings=False)
    at_default = {
        name
        for name, one in fields.items()
        if not one.is_required() and name in plain and plain[name] == bare.get(name)
    }
    return {name: value for name, value in plain.items() if name not in at_default}


def _without_none(value: Any) -> Any:
    """A gate's specification without what it leaves open."""
    if isinstance(value, Mapping):
        return {name: _without_none(inner) for name, inner in value.items() if inner is not None}
    return value
