"""A run of one step of one skill, with consent: what tests of budgets and prices have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opswright.agents.agent import Agent, RunOutcome
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.contract import Skill
from opswright.core.principal import Principal
from opswright.core.registry import Registry


def carry_out(
    made: Agent, skill: Skill[Any, Any], arguments: dict[str, Any], budget: str = "", who: str = "ada"
) -> RunOutcome:
    """What became of a plan with that one step, in a file of its own in this folder."""
    made.registry, made.acting = Registry((skill,)), Principal(who, ("releaser",), "test")
    given = ", ".join(f"{name}: {str(value).lower()}" for name, value in arguments.items())
    path = Path(f"{who}-{abs(hash((given, budget)))}.yaml")
    path.write_text(f"goal: One step\n{budget}steps:\n  a: {{skill: {skill.name}, with: {{{given}}}}}\n")
    proposal = made.plan_for(Ask("plan_file", str(path)))
    return made.start(proposal, Consent(proposal.plan.id, "test"))
