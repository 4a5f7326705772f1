"""Pins: arguments that tie a step to what it was planned for, filled in when the plan is made."""

from __future__ import annotations

from dataclasses import replace

from .contract import Effect
from .plan import references
from .plan_file import PlanText, StepText
from .registry import Registry
from .workspace import Workspace


def with_pins(text: PlanText, registry: Registry, workspace: Workspace) -> PlanText:
    """The plan text with each step's pins, where it leaves them out.

    A step that another one of the plan may come before, on the same endpoint, is left alone: what it is for
    is not there yet.
    """
    steps = [_pinned(one, text, registry, workspace) for one in text.steps]
    return replace(text, steps=tuple(steps))


def _pinned(step: StepText, text: PlanText, registry: Registry, workspace: Workspace) -> StepText:
    pins = registry.get(step.skill).pins if step.skill in registry else None
    if pins is None or next(references(step.arguments), None) is not None:
        return step
    if any(other is not step and _may_change(other, step, registry) for other in text.steps):
        return step
    return replace(step, arguments={**pins(step.arguments, workspace), **step.arguments})


def _may_change(other: StepText, step: StepText, registry: Registry) -> bool:
    """Whether another step may change the endpoint of this one, as far as the text tells."""
    if other.skill not in registry or registry.get(other.skill).effect is not Effect.SERVES:
        return False
    named = {"endpoint": other.arguments.get("endpoint")}
    return named["endpoint"] == step.arguments.get("endpoint") or next(references(named), None) is not None
