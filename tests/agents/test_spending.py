"""What steps expect to take and say they took: neither may make room in a budget."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.contract import Cost, Effect, Request, Result, Skill, StepContext, skill
from opswright.core.errors import BackendError
from opswright.core.machine import Machine
from opswright.core.registry import Registry
from opswright.record.ledger import Ledger, Phase

ODD = {"below": -5.0, "nan": math.nan, "inf": math.inf, "fine": 2.0}


class SpendRequest(Request):
    told: str = "fine"
    expected: str = "fine"


class SpendResult(Result):
    pass


def _expected(request: SpendRequest, machine: Machine, workspace: object) -> Cost:
    usd = ODD[request.expected]
    return Cost(minutes=0, gpu_hours=3, usd=0, tokens=40).model_copy(update={"usd": usd})


@skill(effect=Effect.WRITES, summary="Spend.", reusable=False, estimate=_expected)
def spend(request: SpendRequest, ctx: StepContext) -> SpendResult:
    ctx.spend(usd=1.0)
    ctx.spend(usd=ODD[request.told])
    return SpendResult()


def run(agent: Any, arguments: str, steps: str = "") -> tuple[Agent, Any]:
    made: Agent = agent()
    made.registry = Registry((spend,))
    Path("plan.yaml").write_text(
        "goal: Spend\nbudget: {usd: 10, gpu_hours: 10, tokens: 100}\n"
        f"steps:\n  a: {{skill: spend, with: {arguments}}}\n{steps}"
    )
    proposal = made.plan_for(Ask("plan_file", "plan.yaml"))
    return made, made.start(proposal, Consent(proposal.plan.id, "test"))


def spent(made: Agent) -> dict[str, float]:
    settled = next(r for r in Ledger.of(made.workspace).records() if r.phase == Phase.SETTLED)
    told: dict[str, float] = settled.detail["spent"]
    return told


def test_an_amount_that_is_not_told_counts_as_it_was_reserved(agent: Any) -> None:
    made, ended = run(agent, "{}")
    assert ended.status == "done"
    assert {**spent(made), "minutes": 0} == {"usd": 3.0, "gpu_hours": 3.0, "tokens": 40.0, "minutes": 0}


@pytest.mark.parametrize("told", ["below", "nan", "inf"])
def test_telling_a_negative_or_endless_amount_fails_the_step_and_gives_nothing_back(
    agent: Any, told: str
) -> None:
    made, ended = run(agent, f"{{told: {told}}}")
    assert ended.status == "failed" and "invalid usd spent" in ended.message
    assert spent(made)["usd"] == 1.0 and spent(made)["gpu_hours"] == 3.0


@pytest.mark.parametrize("expected", ["below", "nan", "inf"])
def test_an_estimate_that_nothing_can_take_makes_no_room_in_a_budget(agent: Any, expected: str) -> None:
    made, ended = run(agent, f"{{expected: {expected}}}", "  b: {skill: spend}\n")
    assert ended.status in ("refused", "failed"), ended.message
    assert not [r for r in Ledger.of(made.workspace).records() if r.phase in (Phase.INTENT, Phase.RESERVED)]


@pytest.mark.parametrize("expected", ["below", "nan", "inf"])
def test_such_an_estimate_is_a_fault_of_the_skill(workspace: Any, expected: str) -> None:
    one: Skill[Any, Any] = spend
    assert one.estimate is not None
    with pytest.raises(BackendError, match="spend estimated what no step can take: argument 'usd'"):
        one.estimate(SpendRequest(expected=expected), Machine.here(workspace.root), workspace)


@pytest.mark.parametrize("name", ["minutes", "gpu_hours", "usd", "tokens", "disk_bytes"])
def test_a_cost_holds_no_amount_below_zero_and_none_that_never_ends(name: str) -> None:
    for value in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match=name):
            Cost.model_validate({name: value})
