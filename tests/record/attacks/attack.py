"""Ways to damage a workspace: the list of them, and what they are written with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from opswright.core.contract import Effect
from opswright.core.plan import Budget, Plan, StepCall
from opswright.core.principal import Principal, Ruling
from opswright.record.run_state import Approval

RUN = "20261120-180101-a1b2c3"
RIGHTS = {"viewer": {"reads"}, "operator": {"reads", "writes"}, "releaser": {"reads", "writes", "serves"}}
Rewrite = Callable[..., None]
Damage = Callable[[Any, Rewrite], object]
Place = tuple[str | None, str] | int


@dataclass(frozen=True)
class Roles:
    """A policy by roles, with protected endpoints, approvals that expire, and budgets of a month."""

    protected: str = ""
    lasts: timedelta = timedelta(days=1)
    person: Mapping[str, float] = field(default_factory=dict)  # limits of each person's month
    everybody: Mapping[str, float] = field(default_factory=dict)

    def month_limits(self, person: str) -> list[tuple[str | None, Mapping[str, float]]]:
        return [(person, self.person), (None, self.everybody)]

    def may_propose(self, principal: Principal, plan: Plan, costs: Any = None) -> Ruling:
        return self._rule(principal, {str(step.effect) for step in plan.steps})

    def may_approve(
        self, principal: Principal, plan: Plan, proposer: Principal | None, costs: Any = None
    ) -> Ruling:
        endpoints = {step.arguments.get("endpoint") for step in plan.steps}
        if self.protected in endpoints and proposer is not None and principal.name == proposer.name:
            return Ruling(False, "protected", f"{principal.name} proposed the plan")
        return self._rule(principal, {str(step.effect) for step in plan.steps})

    def may_run(
        self,
        principal: Principal,
        plan: Plan,
        step: StepCall,
        approvals: Sequence[Approval],
        at: datetime,
        proposer: Principal | None = None,
        costs: Any = None,
    ) -> Ruling:
        if step.effect is not Effect.READS and all(at - one.time > self.lasts for one in approvals):
            return Ruling(False, "expiry", "every approval has expired")
        return self._rule(principal, {str(step.effect)})

    def _rule(self, principal: Principal, effects: set[str]) -> Ruling:
        missing = effects - {effect for role in principal.roles for effect in RIGHTS.get(role, set())}
        return Ruling(not missing, "roles", f"{principal} lacks the right: {', '.join(sorted(missing))}")


ATTACKS: list[Any] = []


def attack(check: str, at: Place, message: str, **how: Any) -> Callable[[Damage], Damage]:
    """A way to damage a workspace, where the check must find it (0: at no record), and in which words."""

    def keep(damage: Damage) -> Damage:
        name = getattr(damage, "__name__", "damage")
        ATTACKS.append(
            pytest.param(check, damage, at, message, how, id=name, marks=pytest.mark.audits(check))
        )
        return damage

    return keep


def dropping(step: str | None, phase: str) -> Callable[[dict[str, Any]], object]:
    return lambda body: "drop" if (body["step"], body["phase"]) == (step, phase) else None


def changing(step: str | None, phase: str, *path: str, to: object) -> Callable[[dict[str, Any]], object]:
    def change(body: dict[str, Any]) -> None:
        if (body["step"], body["phase"]) == (step, phase):
            inner: Any = body
            for name in path[:-1]:
                inner = inner[int(name)] if name.isdigit() else inner[name]
            inner[path[-1]] = to

    return change


def of_steps(plan: Plan, *names: str, **changes: Any) -> Plan:
    """A plan with some of another plan's steps, in that order."""
    steps = {step.id: step for step in plan.steps}
    return plan.model_copy(update={"steps": tuple(steps[name] for name in names), **changes})


def one_step(skill: str, effect: str, **arguments: Any) -> Plan:
    step = StepCall(id="live", skill=skill, effect=Effect(effect), arguments=arguments)
    return Plan(goal="One step", budget=Budget(), gates={}, inputs={}, steps=(step,))


def carry_out(scene: Any, run: str, plan: Plan, **more: Any) -> Plan:
    """A run of a plan up to its last step's end."""
    scene.propose(run, plan)
    scene.approve(run, plan, **more)
    for step in plan.steps:
        scene.begin(run, plan, step)
        scene.finish(run, plan, step)
    return plan


def started(scene: Any, plan: Plan | None = None) -> Plan:
    """A run that is approved and has not begun."""
    plan = scene.propose(RUN, plan or scene.plan())
    scene.approve(RUN, plan)
    return plan
