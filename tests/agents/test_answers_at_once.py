"""Several people who answer one plan at the same time: nobody's refusal carries it out, and it ends once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent, RunOutcome
from opswright.agents.approvals import Consent
from opswright.agents.nodes import AgentNodes
from opswright.agents.planner import Ask
from opswright.core.principal import Principal
from opswright.record.ledger import Ledger, Phase


@pytest.fixture
def waiting(agent: Any, plan_file: Path) -> RunOutcome:
    made: Agent = agent()
    return made.start(Ask("plan_file", str(plan_file)))


def person(agent: Any, name: str) -> Agent:
    made: Agent = agent()
    made.acting = Principal(name, ("releaser",), "test")
    return made


def refused_while(
    agent: Any, waiting: RunOutcome, monkeypatch: pytest.MonkeyPatch, node: str, meanwhile: Any
) -> RunOutcome:
    """Di refuses, and right before that node of what ends the run, something else happens, once."""
    plain = getattr(AgentNodes, node)
    happened: list[bool] = []

    def late(self: AgentNodes, state: Any) -> Any:
        if not happened:
            happened.append(True)
            meanwhile()
        return plain(self, state)

    monkeypatch.setattr(AgentNodes, node, late)
    refusal = Consent(waiting.plan.id if waiting.plan else "", "test", approved=False)
    return person(agent, "di").answer(waiting.run, refusal)


@pytest.mark.parametrize("node", ["approve", "report"])
def test_a_refusal_that_somebody_approves_after_carries_nothing_out_and_ends_nothing(
    agent: Any, waiting: RunOutcome, monkeypatch: pytest.MonkeyPatch, node: str, faults: Any
) -> None:
    plan = waiting.plan.id if waiting.plan else ""

    def approve() -> None:
        person(agent, "cy").answer(waiting.run, Consent(plan, "test"))

    refused_while(agent, waiting, monkeypatch, node, approve)
    assert agent().outcome(waiting.run).status == "approved" and faults(agent()) == []
    records = list(Ledger.of(agent().workspace).records())
    assert [r.phase for r in records] == [Phase.PROPOSED, Phase.DENIED, Phase.APPROVED]
    assert person(agent, "cy").resume(waiting.run).status == "done" and faults(agent()) == []


def test_two_refusals_at_once_end_a_run_once(
    agent: Any, waiting: RunOutcome, monkeypatch: pytest.MonkeyPatch, faults: Any
) -> None:
    plan, made = waiting.plan.id if waiting.plan else "", person(agent, "cy")
    held = made._held

    def late(run: str) -> Any:
        monkeypatch.undo()
        person(agent, "di").resume(waiting.run)  # which ends it, as denied
        return held(run)

    monkeypatch.setattr(made, "_held", late)
    made.answer(waiting.run, Consent(plan, "test", approved=False))
    ends = [r for r in Ledger.of(agent().workspace).records() if r.detail.get("status")]
    assert [r.detail["status"] for r in ends] == ["denied"] and faults(agent()) == []
