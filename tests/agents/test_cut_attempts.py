"""An attempt that a kill cut is paid for once whoever resumes; who may not go on ends nothing of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent, RunOutcome
from opswright.core.contract import Cost, Effect, JobHandle, Request, Result, StepContext, skill
from opswright.core.principal import Principal
from opswright.core.registry import Registry
from opswright.record.ledger import Ledger
from opswright.record.spending import spend_report

from .forks import killed
from .one_step import carry_out

_TESTS = os.getpid()


class RentRequest(Request):
    usd: float = 8


class RentResult(Result):
    attached: bool


@skill(
    effect=Effect.WRITES,
    summary="Rent a machine for a job, and die while it runs until told not to.",
    reusable=False,
    estimate=lambda request, machine, workspace: Cost(minutes=0, gpu_hours=0, usd=request.usd),
)
def rent(request: RentRequest, ctx: StepContext) -> RentResult:
    had, go_on = ctx.job is not None, Path("go").exists()
    if not had:
        with Path("jobs").open("a") as file:
            file.write("x")
        ctx.submitted(JobHandle(backend="local", id="17", token="abc"))
    if not go_on and os.getpid() != _TESTS:
        os.kill(os.getpid(), signal.SIGKILL)
    return RentResult(attached=had)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def resumed(agent: Any, who: str = "ada", role: str = "releaser") -> RunOutcome:
    made: Agent = agent()
    made.registry, made.acting = Registry((rent,)), Principal(who, (role,), "test")
    run = next(Ledger.of(made.workspace).records()).run
    return made.resume(run or "")


def taken(agent: Any) -> dict[str, float]:
    total = spend_report(agent().workspace).total
    return {"spent": total.spent["usd"], "reserved": total.reserved["usd"]}


def test_an_attempt_that_was_killed_counts_against_the_plans_budget_before_the_next_begins(
    agent: Any, faults: Any
) -> None:
    killed(lambda: carry_out(agent(), rent, {"usd": 8}, "budget: {usd: 10}\n"))
    refused = resumed(agent)
    assert refused.exit_code == 6 and "8 US dollars spent" in refused.message
    assert taken(agent) == {"spent": 8, "reserved": 0}
    made = agent()
    made.registry = Registry((rent,))
    assert resumed(agent).exit_code == 6 and taken(agent)["spent"] == 8, "refused twice, paid for once"
    assert faults(made) == []


def test_whoever_is_refused_to_go_on_takes_nothing_out_of_the_month(agent: Any, faults: Any) -> None:
    Path("policy.yaml").write_text("budgets: {person: {usd: 20}}\n")
    killed(lambda: carry_out(agent(), rent, {"usd": 8}))
    assert resumed(agent, "vic", "viewer").exit_code == 8
    assert taken(agent) == {"spent": 8, "reserved": 0}
    killed(lambda: resumed(agent))
    assert resumed(agent, "vic", "viewer").exit_code == 8 and taken(agent)["spent"] == 16
    assert resumed(agent).exit_code == 6, "4 are left of 20"
    made = agent()
    made.registry = Registry((rent,))
    assert faults(made) == []


def test_a_job_is_found_again_although_somebody_was_refused_to_go_on_with_it(agent: Any, faults: Any) -> None:
    killed(lambda: carry_out(agent(), rent, {"usd": 1}))
    for _ in range(2):
        assert resumed(agent, "vic", "viewer").exit_code == 8
    Path("go").touch()
    done = resumed(agent)
    assert done.results["a"] == {"attached": True} and Path("jobs").read_text() == "x"
    made = agent()
    made.registry = Registry((rent,))
    assert faults(made) == []
