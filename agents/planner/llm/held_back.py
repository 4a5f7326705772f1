"""When a model's plan is not proposed: the sentence, read without a model, does not ask for it."""

from __future__ import annotations

from ....core.contract import Effect
from ....core.registry import Registry
from ..base import Declined, PlannerReply, Proposal, Question

_WHY = {
    "negated": "it says not to",
    "hypothetical": "it supposes, or asks whether to",
    "reported": "it tells what somebody says",
    "quoted": "it quotes",
    "scheduled": "it is for later",
    "destructive": "it asks to take something away",
    "command": "it holds a command",
}
_OPEN = ("gate", "words")  # a condition, or words that nothing accounts for


def held_back(proposal: Proposal, plain: PlannerReply, registry: Registry) -> str:
    """Why a model's plan is held back, in a clause; empty where it may be proposed.

    plain: what the phrases planner makes of the same words. What changes something is held back where they
    negate, suppose, report, quote, postpone or destroy; what changes an endpoint also where that reader does
    not find the same skill asked for.
    """
    effects = {step.skill: registry.get(step.skill).effect for step in proposal.plan.steps}
    if set(effects.values()) <= {Effect.READS}:
        return ""
    if isinstance(plain, Declined) and plain.reason in _WHY:
        return _WHY[plain.reason]
    asked_for = _skills_asked_for(plain)
    for skill, effect in effects.items():
        if effect is Effect.SERVES and skill not in asked_for:
            return f"it would change what users get, and your words do not ask outright for /{skill}"
    return ""


def _skills_asked_for(plain: PlannerReply) -> set[str]:
    """The skills that the words name as a wish, with nothing left that they make it depend on."""
    if not isinstance(plain, Proposal | Question) or plain.draft is None:
        return set()
    if dict(plain.draft.get("asked") or {}).get("field") in _OPEN:
        return set()
    return {str(step["skill"]) for step in plain.draft.get("steps", ())}
