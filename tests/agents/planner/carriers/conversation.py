"""What is said in the conversation."""

from __future__ import annotations

from typing import Any

from opswright.agents.planner import Turn

from .common import Reading


def earlier_replies(world: Any, texts: list[str]) -> Reading:
    """What the agent said before, which may quote others."""
    return Reading(conversation=[Turn("user", "show me rows"), *(Turn("agent", text) for text in texts)])


def other_people(world: Any, texts: list[str]) -> Reading:
    """What another person wrote in a shared conversation."""
    return Reading(conversation=[Turn("user", text, by="mallory") for text in texts])


def waiting_plans(world: Any, texts: list[str]) -> Reading:
    """The values of a plan that another person's words made, and that waits."""
    said = "; ".join(texts)[:3_000]
    draft = {"goal": said, "steps": [{"id": "d", "skill": "curate", "with": {"source": said}, "open": {}}]}
    return Reading(conversation=[Turn("user", "clean it", by="mallory"), Turn("agent", "Proposed.", draft)])
