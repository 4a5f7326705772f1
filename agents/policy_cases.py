"""A table of cases that a policy is tried on: who, what, and whether it should be allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.contract import Effect
from ..core.errors import AskError
from ..core.explain import explain
from ..core.plan import Budget, Plan, StepCall
from ..core.principal import Principal, Ruling
from ..core.strict_yaml import read_yaml
from ..record.run_state import Approval
from .policy import Costs, Policy


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Who(_Frozen):
    """A principal, as a case names one."""

    name: str = "ada"
    roles: tuple[str, ...] = Field(min_length=1)

    @property
    def principal(self) -> Principal:
        """As the policy is asked about them."""
        return Principal(self.name, self.roles, "a case")


class PolicyCase(_Frozen):
    """One question to the policy and the answer it should give.

    The step is of `skill`, at `endpoint`, expected to take `cost`; for `run` of more than reading,
    `approved_by` gave consent to it.
    """

    case: str = Field(min_length=1)
    who: Who
    may: Literal["propose", "approve", "run"]
    skill: str
    endpoint: str | None = None
    cost: dict[str, float] = Field(default_factory=dict)
    proposed_by: Who | None = None
    approved_by: Who | None = None
    expect: Literal["allow", "deny"]
    rule: str | None = Field(None, description="The rule that should decide.")


class _Table(_Frozen):
    cases: tuple[PolicyCase, ...] = Field(min_length=1)


@dataclass(frozen=True)
class TriedCase:
    """A case and what the policy said."""

    case: PolicyCase
    ruling: Ruling

    @property
    def holds(self) -> bool:
        """Whether the policy said what the case expects."""
        as_expected = self.ruling.allowed == (self.case.expect == "allow")
        return as_expected and self.case.rule in (None, self.ruling.rule)


def read_cases(path: Path) -> Sequence[PolicyCase]:
    """The cases of a YAML file; AskError names what is wrong with it."""
    found = read_yaml(path, "table of cases").data
    try:
        return _Table.model_validate(found or {}).cases
    except ValidationError as error:
        raise AskError(f"{path}: {'; '.join(explain(error, _Table))}") from error


def try_cases(policy: Policy, cases: Sequence[PolicyCase]) -> list[TriedCase]:
    """What the policy says to each case; AskError for a skill or role there is not."""
    return [TriedCase(case, _ruling(policy, case)) for case in cases]


def _ruling(policy: Policy, case: PolicyCase) -> Ruling:
    effect = policy.effects(case.skill)
    if effect is None:
        raise AskError(f"case '{case.case}': unknown skill '{case.skill}'. `opswright skills` lists them.")
    for who in (case.who, case.proposed_by, case.approved_by):
        if who is not None:
            policy.check_roles(who.principal)
    plan = _plan(case, effect)
    costs: Costs = {"step": case.cost}
    proposer = case.proposed_by.principal if case.proposed_by else None
    if case.may == "propose":
        return policy.may_propose(case.who.principal, plan, costs)
    if case.may == "approve":
        return policy.may_approve(case.who.principal, plan, proposer, costs)
    now = datetime.now(UTC)
    approvals = [Approval(1, case.approved_by.principal, plan.id, now, "case")] if case.approved_by else []
    return policy.may_run(case.who.principal, plan, plan.steps[0], approvals, now, proposer, costs)


def _plan(case: PolicyCase, effect: Effect) -> Plan:
    arguments = {"endpoint": case.endpoint} if case.endpoint is not None else {}
    step = StepCall(id="step", skill=case.skill, effect=effect, arguments=arguments)
    return Plan(goal=case.case, budget=Budget(), gates={}, inputs={}, steps=(step,))
