"""Shortened references in a plan file: the compiled plan holds full ones, or says on which line it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.errors import AskError

PLAN = (
    "goal: Train again\nsteps:\n  model:\n    skill: train\n    with:\n      data: {data}\n      steps: 1\n"
)


@pytest.fixture
def made(agent: Any, plan_file: Path) -> Agent:
    """An agent on a workspace that has artifacts."""
    one: Agent = agent()
    proposal = one.plan_for(Ask("plan_file", str(plan_file)))
    one.start(proposal, Consent(proposal.plan.id, "test"))
    return one


def propose(made: Agent, data: str) -> Any:
    Path("short.yaml").write_text(PLAN.format(data=data))
    return made.plan_for(Ask("plan_file", "short.yaml")).plan


def test_a_short_reference_gives_the_very_plan_that_the_full_one_gives(made: Agent) -> None:
    ref = made.workspace.artifacts.list("dataset")[0][0]
    short = propose(made, ref.short)
    assert short.steps[0].arguments["data"] == str(ref)
    assert short.id == propose(made, str(ref)).id == propose(made, f"dataset:{ref.digest[:6]}").id


@pytest.mark.parametrize("data", ["dataset:ffffff", "dataset:12", "dataset:not-hex", "checkpoint:123456"])
def test_one_that_names_nothing_is_refused_with_its_line(made: Agent, data: str) -> None:
    with pytest.raises(AskError, match=r"short\.yaml, line 6: .*" + data):
        propose(made, data)
