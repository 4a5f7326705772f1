"""Slash commands: exact, typed, completed, and never silently wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.agents.planner.slash import SlashPlanner
from opswright.core.errors import AskError


@pytest.fixture
def planner(agent: Any, plan_file: Path) -> SlashPlanner:
    one = agent()
    proposal = one.plan_for(Ask("plan_file", str(plan_file)))
    one.start(proposal, Consent(proposal.plan.id, "test"))
    return SlashPlanner(one.registry, one.workspace)


def test_a_command_becomes_a_plan_of_one_step_with_typed_values(planner: SlashPlanner) -> None:
    plan = planner.propose(Ask("slash", "/collect source=lines.txt least_rows=2")).plan
    assert [s.id for s in plan.steps] == ["collect"]
    assert plan.steps[0].arguments == {"source": "lines.txt", "least_rows": 2}


def test_a_short_reference_is_made_whole(planner: SlashPlanner) -> None:
    ref = planner.artifacts.list("dataset")[0][0]
    plan = planner.propose(Ask("slash", f"/train data={ref.short} steps=1")).plan
    assert plan.steps[0].arguments["data"] == ref


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("collect source=x", "starts with '/'"),
        ("/", "starts with '/'"),
        ("/collect source", "is not name=value"),
        ("/collect source=", "'source' is empty"),
        ("/collect source=' '", "'source' is empty"),
        ("/collect sorce=lines.txt", "Did you mean 'source'"),
        ("/collect source=lines.txt source=lines.txt", "given twice"),
        ("/collect source='lines", "Quote values"),
        ("/collect source=lines.txt least_rows=-1", "greater than or equal to 0"),
        ("/collect source=lines.txt least_rows='[&a [x], *a]'", "aliases are not supported"),
        ("/collect source=lines.txt least_rows=2026-13-45", "cannot be read as timestamp"),
        ("/collect source=lines.txt least_rows=.inf", "not a finite number"),
        ("/collect source=lines.txt least_rows='{a: 1, a: 2}'", "'a' is given twice"),
        ("/collect source=lines.txt least_rows=" + "[" * 5000, "nested deeper than 100 levels"),
        ("/train data=dataset:ffffff", "matches 0 artifacts"),
        ("/train data=dataset:12", "at least 6 digits"),
    ],
)
def test_a_wrong_command_is_explained(planner: SlashPlanner, text: str, message: str) -> None:
    with pytest.raises(AskError, match=message):
        planner.propose(Ask("slash", text))


def test_a_command_that_would_grow_without_bound_is_refused_at_once(planner: SlashPlanner) -> None:
    tenfold = ", ".join(f"&a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8))
    with pytest.raises(AskError, match="aliases are not supported"):
        planner.parse(f"/collect source=lines.txt least_rows='[&a0 [x], {tenfold}]'")


def test_completion_offers_skills_then_names_then_values(planner: SlashPlanner) -> None:
    assert planner.complete("/co") == ["/collect"]
    assert planner.complete("/collect ") == ["source=", "least_rows="]
    assert planner.complete("/collect source=a l") == ["least_rows="]
    assert planner.complete("/judge decision=") == []
    assert planner.complete("/train data=")[0].startswith("data=dataset:")
    assert planner.complete("/nothing x") == []
