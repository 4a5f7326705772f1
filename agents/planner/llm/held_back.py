"""When a model's plan is not proposed: the sentence, read without a model, does not ask for it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ....core.contract import Effect
from ....core.plan import Plan, put, references, thaw
from ....core.registry import Registry
from ..base import Declined, PlannerReply, Proposal, Question

_WHY = {
    "negated": "it says not to",
    "hypothetical": "it supposes, or asks whether to",
    "told": "it tells of what is or was done",
    "reported": "it tells what somebody says",
    "quoted": "it quotes",
    "scheduled": "it is for later",
    "destructive": "it asks to take something away",
    "command": "it holds a command",
}
_OPEN = ("gate", "words")  # a condition, or words that nothing accounts for


def held_back(proposal: Proposal, plain: PlannerReply, registry: Registry, *, has_read: bool = False) -> str:
    """Why a model's plan is held back, in a clause; empty where it may be proposed.

    plain: what the phrases planner makes of the same words. What changes something is held back where they
    negate, suppose, report, quote, postpone or destroy, and where that reader does not find the same skill
    asked for; a step that only makes what one asked for takes is part of it, unless it changes an endpoint.
    has_read: the model read what others wrote. Where the words alone come to a plan, it proposes no other.
    """
    effects = {step.skill: registry.get(step.skill).effect for step in proposal.plan.steps}
    if set(effects.values()) <= {Effect.READS}:
        return ""
    if isinstance(plain, Declined) and plain.reason in _WHY:
        return _WHY[plain.reason]
    asked_for = _skills_asked_for(plain)
    needed = _needed(proposal.plan, asked_for)
    for step in proposal.plan.steps:
        effect = effects[step.skill]
        if effect is Effect.SERVES and step.skill not in asked_for:
            return f"it would change what users get, and your words do not ask outright for /{step.skill}"
        if effect is Effect.WRITES and step.id not in needed:
            return f"your words do not ask outright for /{step.skill}"
    if has_read and isinstance(plain, Proposal) and _calls(plain.plan) != _calls(proposal.plan):
        return "it was made after reading what others wrote, and your words alone come to another"
    return ""


def _skills_asked_for(plain: PlannerReply) -> set[str]:
    """The skills that the words name as a wish, with nothing left that they make it depend on."""
    if not isinstance(plain, Proposal | Question) or plain.draft is None:
        return set()
    if dict(plain.draft.get("asked") or {}).get("field") in _OPEN or plain.draft.get("left_out"):
        return set()
    return {str(step["skill"]) for step in plain.draft.get("steps", ())}


def _needed(plan: Plan, skills: Collection[str]) -> set[str]:
    """The ids of the steps of these skills, and of those that make what they take."""
    by_id = {step.id: step for step in plan.steps}
    waiting = [step.id for step in plan.steps if step.skill in skills]
    found: set[str] = set()
    while waiting:
        if (one := waiting.pop()) in by_id and one not in found:
            found.add(one)
            waiting += [other for _, other, _ in references(by_id[one].arguments)]
    return found


def _calls(plan: Plan) -> tuple[Any, ...]:
    """What a plan does, whatever its steps are called: skills, arguments, gates and budget."""
    places = {step.id: f"step-{place}" for place, step in enumerate(plan.steps)}
    calls = []
    for step in plan.steps:
        arguments: Any = thaw(step.arguments)
        for path, other, field in references(step.arguments):
            arguments = put(arguments, path, f"${{{places[other]}.{field}}}")
        calls.append((step.skill, arguments, step.waive_gate))
    gates = [gate.model_dump(mode="json") for gate in plan.gates.values()]
    return calls, gates, plan.budget.limits
