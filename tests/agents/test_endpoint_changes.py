"""The record behind a change of an endpoint is found by the key that the skill was given."""

from __future__ import annotations

from pathlib import Path

from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.record.index import LedgerIndex


class TellRequest(Request):
    word: str = "hello"


class TellResult(Result):
    key: str


@skill(effect=Effect.SERVES, summary="Tell the key it was given.")
def tell(ask: TellRequest, ctx: StepContext) -> TellResult:
    return TellResult(key=ctx.idempotency_key)


def test_a_changes_key_leads_to_the_step_that_made_it(tmp_path: Path) -> None:
    workspace = Workspace(load_settings(home=tmp_path / "workspace", mlflow={"mirror": "off"}))
    agent = Agent(workspace, Registry([tell]))
    keys = []
    for word in ("one", "two"):
        ask = Ask("slash", f"/tell word={word}")
        done = agent.start(ask, Consent(agent.plan_for(ask).plan.id, "test"))
        keys.append(done.results["tell"]["key"])
        record = LedgerIndex.of(workspace).changes(keys)[keys[-1]]
        assert (record.run, record.step, record.skill) == (done.run, "tell", "tell")
    assert set(LedgerIndex.of(workspace).changes([*keys, "another"])) == set(keys)
