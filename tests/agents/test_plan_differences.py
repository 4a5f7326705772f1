"""What differs between two plans of one goal, as an approver reads it."""

from __future__ import annotations

from opswright.agents.changes import Difference, plan_differences
from opswright.core.contract import Effect
from opswright.core.gate import GateSpec
from opswright.core.plan import Budget, Plan, StepCall


def gated(bar: float, steps: int = 10) -> Plan:
    gate = GateSpec(suite="shop", min=bar)
    calls = (
        StepCall(id="model", skill="train", effect=Effect.WRITES, arguments={"steps": steps}),
        StepCall(
            id="gate", skill="gate", effect=Effect.READS, arguments={"spec": gate.model_dump(mode="json")}
        ),
    )
    return Plan(goal="Ship it", budget=Budget(), gates={"release": gate}, inputs={}, steps=calls)


def test_a_lowered_gate_is_told_once_by_the_criterion_that_is_lower() -> None:
    assert list(plan_differences(gated(0.9), gated(0.1))) == [Difference("gates.release.min", "0.9", "0.1")]


def test_an_argument_is_told_beside_the_gate() -> None:
    found = {one.where for one in plan_differences(gated(0.9, 10), gated(0.1, 20))}
    assert found == {"steps.model.steps", "gates.release.min"}
