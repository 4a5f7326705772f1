"""GPU hours in US dollars: reserved and settled at the table's price, unknown where the hours are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.agents.planner.llm.limits import with_table_prices
from opswright.agents.prices import SHIPPED
from opswright.core.contract import Cost, Effect, Request, Result, StepContext, skill
from opswright.core.errors import AskError, OpswrightError
from opswright.core.price_table import read_prices, token_price
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.token_spending import spend_tokens, token_counter, usd_of
from opswright.core.workspace import Workspace
from opswright.record.ledger import Ledger, Phase
from opswright.record.spending import spend_report

from .one_step import carry_out


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
    return made, carry_out(made, heat, {"expected": expected}, budget)


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


@pytest.mark.parametrize("price", ["-1", "1e308", "nan", "1e400"])
def test_a_price_that_no_sum_can_be_made_of_is_refused(agent: Any, price: str) -> None:
    Path("prices.yaml").write_text(OWN.replace("4", price, 1))
    refused = carry_out(agent(prices={"gpu": "ours", "file": "prices.yaml"}), heat, {"expected": 2})
    assert refused.status == "refused" and "usd_per_hour" in refused.message


def test_a_plan_whose_cost_no_record_can_hold_leaves_no_run_behind(agent: Any, faults: Any) -> None:
    with pytest.raises(OpswrightError, match="without NaN or infinity"):
        run(agent, "", expected=1e308)
    made: Agent = agent()
    assert [*Ledger.of(made.workspace).records()] == [] and faults(made) == []


URL = "https://models.example.org/v1"
TOKENS = (
    OWN
    + f"""endpoints:
  {URL}:
    big: {{usd_per_million_input: 2, usd_per_million_output: 10, source: "the contract", date: "2026-11"}}
"""
)


class AskRequest(Request):
    url: str = URL
    model: str = "big"


def _tokens(request: AskRequest, machine: Any, workspace: Any) -> Cost:
    usd = usd_of(workspace.settings, request.url, request.model, 1_000_000, 500_000)
    return Cost(minutes=0, gpu_hours=0, tokens=1_500_000, usd=usd)


@skill(effect=Effect.WRITES, summary="Ask a model.", reusable=False, estimate=_tokens)
def ask_model(request: AskRequest, ctx: StepContext) -> HeatResult:
    for _ in range(2):
        spend_tokens(ctx, request.url, request.model, 100_000, 50_000)
    return HeatResult()


def asked(agent: Any, budget: str = "", table: str = TOKENS, **arguments: str) -> tuple[Agent, Any]:
    Path("prices.yaml").write_text(table)
    made: Agent = agent(prices={"file": "prices.yaml"})
    return made, carry_out(made, ask_model, arguments, budget)


def test_tokens_of_an_endpoint_are_reserved_and_settled_at_its_price(agent: Any) -> None:
    made, ended = asked(agent, "budget: {usd: 7}\n")  # 2 for what is read, 5 for what is written
    assert ended.status == "done" and ended.costs["a"]["usd"] == 7
    spent = spend_report(made.workspace).total.spent
    assert spent["usd"] == pytest.approx(0.2 * 2 + 0.1 * 10) and spent["tokens"] == 300_000
    (line,) = [one for one in spend_report(made.workspace, "endpoint").lines if one.name == URL]
    assert line.spent["usd"] == pytest.approx(1.4) and line.attempts == 1
    assert asked(agent, "budget: {usd: 6.9}\n")[1].exit_code == 6


@pytest.mark.parametrize("arguments", [{"model": "other"}, {"url": "https://models.example.org.evil/v1"}])
def test_tokens_without_a_price_are_refused_where_a_budget_limits_dollars(
    agent: Any, arguments: dict[str, str]
) -> None:
    refused = asked(agent, "budget: {usd: 1000}\n", **arguments)[1]
    assert refused.exit_code == 6 and "is not known" in refused.message
    made, ended = asked(agent, **arguments)
    assert ended.status == "done"
    settled = next(one for one in Ledger.of(made.workspace).records() if one.phase == Phase.SETTLED)
    (told,) = settled.detail["endpoints"].values()
    assert told == {"tokens": 300_000, "unpriced_tokens": 300_000}, "the record says that no price is known"


def test_the_same_address_is_known_however_it_is_written_and_any_model_may_have_a_price(
    tmp_path: Path,
) -> None:
    Path("prices.yaml").write_text(TOKENS.replace("big:", '"*":'))
    settings = load_settings(prices={"file": "prices.yaml"}).prices
    for url in (URL, URL + "/", "HTTPS://Models.Example.org/v1/chat/completions", f"{URL}?key=1"):
        assert token_price(settings, url, None) is not None and token_price(settings, url, "any") is not None
    assert token_price(settings, "https://models.example.org/v2", None) is None


def test_a_price_that_changed_after_consent_voids_it(agent: Any) -> None:
    Path("prices.yaml").write_text(TOKENS)
    made: Agent = agent(prices={"file": "prices.yaml"})
    made.registry = Registry((ask_model,))
    Path("plan.yaml").write_text("goal: Ask\nbudget: {usd: 7}\nsteps:\n  a: {skill: ask-model}\n")
    waiting = made.start(Ask("plan_file", "plan.yaml"))
    Path("prices.yaml").write_text(TOKENS.replace("usd_per_million_input: 2", "usd_per_million_input: 0"))
    assert waiting.plan is not None
    ended = made.resume(waiting.run, Consent(waiting.plan.id, "test"))
    assert ended.exit_code == 7 and "prices.table" in ended.message


def test_a_table_that_goes_while_a_step_runs_takes_no_price_from_it(context: Any) -> None:
    Path("prices.yaml").write_text(TOKENS)
    settings = load_settings(home="ws", prices={"file": "prices.yaml"})
    ctx: StepContext = replace(context(), workspace=Workspace(settings))
    count = token_counter(ctx, URL, "big")
    count(1_000_000, 0)
    Path("prices.yaml").unlink()
    count(1_000_000, 0)
    assert ctx.spent == {"tokens": 2_000_000, "usd": 4}


def test_a_planner_without_prices_of_its_own_has_those_of_the_table(tmp_path: Path) -> None:
    Path("prices.yaml").write_text(TOKENS)
    settings = load_settings(
        prices={"file": "prices.yaml"}, planner={"kind": "llm", "base_url": URL, "model": "big"}
    )
    priced = with_table_prices(settings.planner, settings.prices)
    assert (priced.usd_per_million_input, priced.usd_per_million_output) == (2, 10)
    own = settings.planner.model_copy(update={"usd_per_million_input": 1.0})
    assert with_table_prices(own, settings.prices) is own
