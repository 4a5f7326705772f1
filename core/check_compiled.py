"""A compiled plan from outside is data: it is held against what compiling the same text gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .compile import compile_text
from .errors import AskError, IntegrityError
from .plan import GATE_SKILL, GATE_SUFFIX, Plan, StepCall
from .plan_file import PlanText, StepText
from .registry import Registry


def check_compiled(plan: Plan, registry: Registry) -> None:
    """Hold a plan from outside against what compiling the same text gives; IntegrityError where it differs.

    A plan is data, whoever made it: its effects, defaults, inputs and gates are believed only when this
    installation's skills lead to the very same. The digests of its inputs are held against the files when the
    plan runs.
    """
    text = decompiled(plan)
    try:
        again = compile_text(text, registry, lambda shown: plan.inputs.get(shown, ""), anywhere=True)
    except AskError as error:
        raise IntegrityError(f"this is not a plan that compiling gives: {error}") from error
    if again.id == plan.id:
        return
    told, right = plan.model_dump(mode="json"), again.model_dump(mode="json")
    raise IntegrityError(
        f"this is not a plan that compiling gives: {'; '.join(_differences(told, right))}. It was changed, "
        "or made with other skills than these. Compile its file anew with `opswright plan FILE`."
    )


def _differences(told: Any, right: Any, where: str = "") -> Iterator[str]:
    """Where two plans differ, as sentences; at most a few are worth reading."""
    if isinstance(told, dict) and isinstance(right, dict):
        for key in sorted(told.keys() | right.keys()):
            yield from _differences(told.get(key), right.get(key), f"{where}.{key}".strip("."))
    elif isinstance(told, list) and isinstance(right, list) and len(told) == len(right):
        for index, (one, other) in enumerate(zip(told, right, strict=True)):
            name = one.get("id", index) if isinstance(one, dict) else index
            yield from _differences(one, other, f"{where}.{name}".strip("."))
    elif told != right:
        yield f"{where} is {str(told)[:80]!r}, compiling gives {str(right)[:80]!r}"


def decompiled(plan: Plan) -> PlanText:
    """The plan file that a plan would be compiled from."""
    gates = {f"{step.id}": step for step in plan.steps if step.skill == GATE_SKILL and "." in step.id}
    steps = []
    for step in plan.steps:
        if step.id in gates:
            continue
        gate = gates.get(step.id + GATE_SUFFIX)
        steps.append(
            StepText(
                id=step.id,
                skill=step.skill,
                arguments=step.arguments,
                gate=None if gate is None else _gate_name(plan, gate),
                waive_gate=step.waive_gate,
            )
        )
    specs = {name: spec.model_dump(mode="json") for name, spec in plan.gates.items()}
    budget = plan.budget.model_dump(mode="json")
    return PlanText(name="the plan", goal=plan.goal, budget=budget, gates=specs, steps=tuple(steps))


def _gate_name(plan: Plan, gate: StepCall) -> str:
    """Which of the plan's gates a gate's step judges by."""
    spec = gate.arguments.get("spec")
    found = (name for name, one in plan.gates.items() if one.model_dump(mode="json") == spec)
    return next(found, gate.id)
