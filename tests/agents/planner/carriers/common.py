"""What carriers share: how a model comes to read what was planted, and runs that plant it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from opswright.agents.agent import Agent, RunOutcome
from opswright.agents.approvals import Consent
from opswright.agents.planner import Proposal, Turn
from opswright.core.compile import compile_plan
from opswright.core.pins import with_pins
from opswright.core.plan_file import parse_plan
from opswright.core.principal import Principal
from opswright.core.registry import Registry

ADA = Principal("ada", ("releaser",), "test")
Call = tuple[str, dict[str, Any]]
CLEANS = "goal: {}\nsteps:\n  d: {{skill: curate, with: {{source: new.csv}}}}\n"


@dataclass(frozen=True)
class Reading:
    """How a model comes to read what was planted."""

    calls: list[Call] = field(default_factory=list)
    conversation: list[Turn] = field(default_factory=list)


@dataclass(frozen=True)
class Carrier:
    """A place that holds others' words. few: each text takes a run of its own there."""

    name: str
    plant: Callable[[Any, list[str]], Reading]
    few: bool = False


def carried_out(world: Any, plan_text: str, registry: Registry | None = None) -> RunOutcome:
    """A run of the world, by the agent, with consent: to its end, good or bad."""
    skills = registry or world.registry
    text = with_pins(parse_plan(plan_text, "planted"), skills, world.workspace)
    plan = compile_plan(text, skills, world.workspace.artifacts.resolve)
    return Agent(world.workspace, skills, acting=ADA).start(Proposal(plan, "test"), Consent(plan.id, "test"))


def one_line(text: str, most: int) -> str:
    return " ".join(text.split())[:most]


def as_file_name(text: str) -> str:
    """A text as it can be a file's name."""
    return json.dumps(text)[1:-1].replace("/", "\u2215")[:120]


def fresh_name(world: Any) -> str:
    return f"planted-{len(world.artifacts)}-{len(world.runs)}"


def of_cleaned(world: Any, source: str) -> Reading:
    outcome = carried_out(world, f"goal: g\nsteps:\n  d: {{skill: curate, with: {{source: {source}}}}}\n")
    assert outcome.exit_code == 0, outcome.message
    asked = (
        "which rows were left out of the dataset?",
        "examples of exact duplicates",
        "labels of the dataset",
    )
    return Reading([("show_run", {"run": outcome.run}), *(("search", {"question": one}) for one in asked)])


def of_failed(world: Any, outcome: RunOutcome) -> Reading:
    from opswright.record.ledger import Ledger

    failed = [r.seq for r in Ledger.of(world.workspace).records() if r.run == outcome.run and r.step]
    shown: list[Call] = [("show_run", {"run": outcome.run}), ("show_record", {"seq": failed[-1]})]
    return Reading([*shown, ("search", {"question": "what was the error of the failed step?"})])
