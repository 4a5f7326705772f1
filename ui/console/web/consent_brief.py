"""What consent to a plan that waits lets happen, in a few lines: for the list where consent is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ....agents.agent import Agent
from ....agents.changes import plan_changes
from ....core.contract import Impact
from ....core.errors import OpswrightError
from ...expected_cost import expected_cost
from ...show import gate_words
from ..console import Console


@dataclass(frozen=True)
class ConsentBrief:
    """Steps, gates and costs in words; what users of each endpoint get; findings that warn, waivers too.

    differs: how many places differ from the last run with the same goal, and from which run; empty without.
    """

    steps: str
    gates: Mapping[str, str]
    endpoints: tuple[Impact, ...]
    warnings: tuple[str, ...]
    expected: str
    differs: str


def consent_brief(console: Console, agent: Agent, run: str) -> ConsentBrief | None:
    """The brief of a run's plan; None where the plan cannot be read, which the list says itself."""
    try:
        outcome = agent.outcome(run)
        if (plan := outcome.plan) is None:
            return None
        changes = plan_changes(plan, run, console.registry, console.workspace)
    except OpswrightError:
        return None
    count, places = len(changes.differences), "place" if len(changes.differences) == 1 else "places"
    differs = f"differs in {count} {places} from" if count else "the same plan, on the same inputs, as"
    return ConsentBrief(
        steps=", ".join(
            step.skill if step.id == step.skill else f"{step.id} ({step.skill})" for step in plan.steps
        ),
        gates={name: gate_words(gate.model_dump()) for name, gate in plan.gates.items()},
        endpoints=tuple(seen for _, seen in changes.endpoints),
        warnings=tuple(
            f"{one['step']}: {one['message']}" for one in outcome.findings if one["level"] in ("warn", "stop")
        ),
        expected=expected_cost(plan, outcome.costs).in_words,
        differs=f"{differs} run {changes.earlier}" if changes.earlier else "",
    )
