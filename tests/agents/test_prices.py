"""GPU hours in US dollars: reserved and settled at the table's price, unknown where the hours are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.agents.prices import SHIPPED, read_prices
from opswright.core.contract import Cost, Effect, Request, Result, StepContext, skill
from opswright.core.errors import AskError
from opswright.core.registry import Registry
from opswright.record.spending import spend_report


class HeatRequest(Request):
    expected: float = 2
    really: float = 1


class HeatResult(Result):
    pass


@skill(
    effect=Effect.WRITES,
    summary="Use GPU hours; below zero: nobody knows how many.",
    reusable=False,
    estimate=lambda request, machine, workspace: Cost(
        minutes=0, usd=1, gpu_hours=request.expected if request.expected >= 0 else None
    ),
)
def heat(request: HeatRequest, ctx: StepContext) -> HeatResult:
    ctx.spend(gpu_hours=request.really)
    return HeatResult()


OWN = 'gpus: {ours: {usd_per_hour: 4, source: "the contract", date: "2026-11"}}\n'


def run(agent: Any, budget: str, expected: float = 2, gpu: str | None = "ours") -> tuple[Agent, Any]:
    Path("prices.yaml").write_text(OWN)
    made: Agent = agent(prices={"gpu": gpu, "file": "prices.yaml"})
    made.registry = Registry((heat,))
    Path("plan.yaml").write_text(
        f"goal: Heat\n{budget}steps:\n  a: {{skill: heat, with: {{expected: {expected}}}}}\n"
    )
    proposal = made.plan_for(Ask("plan_file", "plan.yaml"))
    return made, made.start(proposal, Consent(proposal.plan.id, "test"))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_gpu_hours_are_expected_and_taken_at_their_price(agent: Any) -> None:
    made, ended = run(agent, "budget: {usd: 9}\n")  # 2 hours at 4, and 1 besides
    assert ended.status == "done" and ended.costs["a"]["usd"] == 9
    assert spend_report(made.workspace).total.spent["usd"] == 5, "1 hour at 4, and 1 besides"
    assert run(agent, "budget: {usd: 8.9}\n")[1].exit_code == 6


def test_without_a_budget_the_hours_that_were_told_cost_what_they_cost(agent: Any) -> None:
    made, _ = run(agent, "")
    assert spend_report(made.workspace).total.spent["usd"] == 4


def test_hours_that_nobody_knows_cost_what_nobody_knows(agent: Any) -> None:
    assert run(agent, "budget: {usd: 1000}\n", expected=-1)[1].exit_code == 6
    assert run(agent, "budget: {usd: 1000}\n", expected=-1, gpu=None)[1].status == "done"


def test_each_shipped_price_names_its_source_and_date_and_an_unknown_gpu_is_refused(agent: Any) -> None:
    shipped = read_prices(SHIPPED).gpus
    assert shipped and all(one.source and one.date and one.usd_per_hour > 0 for one in shipped.values())
    refused = run(agent, "", gpu="hours")[1]
    assert refused.status == "refused" and "no price of GPU 'hours' in prices.yaml" in refused.message
    Path("own.yaml").write_text("gpus: {ours: {usd_per_hour: -4, source: a, date: '2026'}}\n")
    with pytest.raises(AskError, match="greater than or equal to 0"):
        read_prices(Path("own.yaml"))
