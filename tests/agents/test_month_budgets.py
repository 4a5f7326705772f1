"""Budgets of a month, by person and for all: reserved before a step, settled after, whoever runs at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.month_budget import MonthSpending, months_left
from opswright.agents.planner import Ask
from opswright.agents.policy import policy_of, read_rules
from opswright.core.contract import Cost, Effect, Request, Result, StepContext, skill
from opswright.core.errors import AskError
from opswright.core.principal import Principal
from opswright.core.registry import Registry
from opswright.record.ledger import Entry, Ledger, Phase
from opswright.record.spending import MonthTotals, SpendBook, spend_report

from .one_step import carry_out

RUNNING = threading.Event()  # a rent that waits has begun
GO_ON = threading.Event()


class RentRequest(Request):
    usd: float = 1
    waits: bool = False


class RentResult(Result):
    pass


@skill(
    effect=Effect.WRITES,
    summary="Rent for as many dollars as it is told; below zero: nobody knows how many.",
    reusable=False,
    estimate=lambda request, machine, workspace: Cost(
        minutes=0, gpu_hours=0, usd=request.usd if request.usd >= 0 else None
    ),
)
def rent(request: RentRequest, ctx: StepContext) -> RentResult:
    if request.waits:
        RUNNING.set()
        GO_ON.wait(30)
    ctx.spend(usd=request.usd / 2)
    return RentResult()


def policy(text: str) -> None:
    Path("policy.yaml").write_text(text)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    RUNNING.clear()
    GO_ON.clear()


def ask(agent: Any, usd: float, who: str = "ada", waits: bool = False, budget: str = "") -> Any:
    return carry_out(agent(), rent, {"usd": usd, "waits": waits}, budget, who)


def begun(agent: Any) -> int:
    return sum(one.phase == Phase.INTENT for one in Ledger.of(agent().workspace).records())


def test_a_person_may_take_what_the_month_gives_them_and_not_more(agent: Any) -> None:
    policy("budgets: {person: {usd: 10}}\n")
    assert ask(agent, 8).status == "done"  # 4 are settled
    assert ask(agent, 6).status == "done"  # 3 more
    over = ask(agent, 4)
    assert over.status == "failed" and over.exit_code == 6, over.message
    assert "ada's budget of 20" in over.message and "7 US dollars taken of 10 US dollars" in over.message
    assert begun(agent) == 2
    assert ask(agent, 4, who="ria").status == "done", "everybody has their own"


def test_everybody_together_has_a_budget_too_and_a_person_may_have_another(agent: Any) -> None:
    policy("budgets: {person: {usd: 5}, people: {ria: {usd: 20}}, month: {usd: 12}}\n")
    assert ask(agent, 6).exit_code == 6
    assert ask(agent, 12, who="ria").status == "done"  # 6 are settled
    assert ask(agent, 5, who="ada").status == "done"  # 2.5 more
    over = ask(agent, 4, who="ria")
    assert over.exit_code == 6 and "everybody's budget" in over.message and "ria's" not in over.message


def test_who_carries_a_run_out_does_not_pay_for_it(agent: Any) -> None:
    policy("budgets: {person: {usd: 5}}\n")
    waiting = agent()
    waiting.registry = Registry((rent,))
    waiting.acting = Principal("ada", ("operator",), "test")
    Path("p.yaml").write_text("goal: Rent\nsteps:\n  a: {skill: rent, with: {usd: 6}}\n")
    run = waiting.start(Ask("plan_file", "p.yaml"))
    ria = Agent(waiting.workspace, waiting.registry, acting=Principal("ria", ("releaser",), "test"))
    ended = ria.resume(run.run, Consent(run.plan.id, "test"))
    assert ended.exit_code == 6 and "ada's budget" in ended.message


def test_an_unknown_cost_is_refused_where_a_budget_limits_it(agent: Any) -> None:
    policy("budgets: {person: {usd: 10}}\n")
    unknown = ask(agent, -1)
    assert unknown.exit_code == 6 and "is not known" in unknown.message and begun(agent) == 0
    policy("budgets: {person: {gpu_hours: 1}}\n")
    GO_ON.set()
    assert ask(agent, 1).status == "done"


def test_two_runs_at_once_cannot_both_have_what_is_left(agent: Any) -> None:
    policy("budgets: {person: {usd: 10}}\n")
    ended: list[Any] = []
    first = threading.Thread(target=lambda: ended.append(ask(agent, 6, waits=True)))
    first.start()
    try:
        assert RUNNING.wait(30)
        second = ask(agent, 5)  # 6 are reserved: 4 are left
    finally:
        GO_ON.set()
        first.join(30)
    assert second.exit_code == 6 and "6 US dollars taken" in second.message
    assert ended[0].status == "done"
    assert spend_report(agent().workspace).total.spent["usd"] == 3
    assert ask(agent, 5).status == "done", "what was reserved and not taken is free again"


def test_the_last_look_is_taken_while_nobody_else_can_reserve(
    agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both looked and found room; then both want to begin."""
    policy("budgets: {person: {usd: 10}}\n")
    from opswright.agents.steps import StepRunner

    both = threading.Barrier(2, timeout=30)
    reserve = StepRunner._reserve

    def reserve_together(self: StepRunner, attempt: Any) -> None:
        reserve(self, attempt)
        both.wait()

    monkeypatch.setattr(StepRunner, "_reserve", reserve_together)
    ended: list[Any] = []
    runs = [threading.Thread(target=lambda usd=usd: ended.append(ask(agent, usd))) for usd in (7, 8)]
    for one in runs:
        one.start()
    for one in runs:
        one.join(60)
    assert sorted(one.exit_code for one in ended) == [0, 6] and begun(agent) == 1


def test_the_audit_finds_a_run_that_began_beyond_the_month_and_none_that_did_not(
    agent: Any, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy("budgets: {person: {usd: 10}, month: {usd: 11}}\n")
    assert ask(agent, 8).status == "done" and ask(agent, 6).status == "done"
    assert ask(agent, 4).exit_code == 6
    checked = agent()
    checked.registry = Registry((rent,))
    assert faults(checked) == []
    monkeypatch.setattr(MonthSpending, "check", lambda *_: None)
    assert ask(agent, 4).status == "done"
    month = f"{datetime.now(UTC):%Y-%m}"
    assert [f"beyond ada's budget of {month}: 11 usd taken" in one for one in faults(checked)] == [True]
    policy("budgets: {person: {usd: 1000}}\n")
    assert len(faults(checked)) == 1, "it is judged by the policy that was in force"


def test_the_record_names_the_policy_by_which_the_last_look_was_taken(
    agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody raises their limit between the first look and the last one."""
    policy("budgets: {person: {usd: 10}}\n")
    from opswright.agents.steps import StepRunner

    reserve = StepRunner._reserve

    def reserve_and_edit(self: StepRunner, attempt: Any) -> None:
        reserve(self, attempt)
        policy("budgets: {person: {usd: 11}}\n")

    monkeypatch.setattr(StepRunner, "_reserve", reserve_and_edit)
    assert ask(agent, 6).status == "done"
    made = agent()
    (intent,) = (one for one in Ledger.of(made.workspace).records() if one.phase == Phase.INTENT)
    assert intent.detail["policy"] == policy_of(made.workspace, made.registry).digest


def test_a_clock_that_jumps_makes_no_room(agent: Any) -> None:
    made = agent()
    ledger, ada = Ledger.of(made.workspace), Principal("ada", ("releaser",), "test")
    ledger.append_all([Entry(Phase.PROPOSED, run="r", plan="p", detail={})], ada)
    for phase, name in ((Phase.RESERVED, "reserved"), (Phase.SETTLED, "spent")):
        ledger.append_all([Entry(phase, run="r", step="a", skill="rent", detail={name: {"usd": 7.0}})], ada)
    now = list(ledger.records())
    for book in (SpendBook(), MonthTotals()):
        book.take_in([*now[:2], replace(now[2], time="2999-01-01T00:00:00+00:00")])
        assert book.charged("ada", f"{datetime.now(UTC):%Y-%m}")["usd"] == 7, "settled by a clock gone ahead"
    for book in (SpendBook(), MonthTotals()):
        book.take_in([*now[:2], replace(now[2], time="2001-01-01T00:00:00+00:00")])
        assert book.charged(None, f"{datetime.now(UTC):%Y-%m}")["usd"] == 7, "settled by a clock gone back"


def test_who_proposes_is_warned_before_anybody_approves_that_the_month_has_too_little_left(
    agent: Any,
) -> None:
    policy("budgets: {person: {usd: 10}}\n")
    assert ask(agent, 8).status == "done"  # 4 are settled
    made = agent()
    made.registry, made.acting = Registry((rent,)), Principal("ada", ("releaser",), "test")
    for usd, fits in ((6, True), (7, False)):
        Path("p.yaml").write_text(f"goal: Rent\nsteps:\n  a: {{skill: rent, with: {{usd: {usd}}}}}\n")
        waiting = made.start(Ask("plan_file", "p.yaml"))
        told = [one["message"] for one in waiting.findings if one["level"] == "warn"]
        assert waiting.status == "waiting" and bool(told) is not fits, told
    assert "would not begin: ada's budget of" in told[0] and "4 US dollars taken of 10" in told[0]
    (left,) = months_left(made.workspace, made.policy, "ada")
    assert left.left.limits == {"usd": 6} and left.left_in_words == "6 US dollars"
    assert months_left(made.workspace, made.policy, "ria")[0].left.limits == {"usd": 10}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("budgets: {person: {usd: -1}}", "greater than or equal to 0"),
        ("budgets: {person: {dollars: 1}}", "dollars"),
        ("budgets: {persn: {usd: 1}}", "unknown argument 'persn'"),
        ("budgets: {person: {usd: .inf}}", "finite"),
        ("budgets: {people: {ada: 5}}", "people"),
    ],
)
def test_a_budget_that_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    policy(text)
    with pytest.raises(AskError, match=message):
        read_rules(Path("policy.yaml"))
