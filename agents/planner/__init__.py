"""Planners: each turns what a person asked into a proposed plan or a question, and can do nothing else.

They are found in a registry: the built-in ones, and what packages bring as entry point `opswright.planners`:
a function `(PlannerSetup) -> Planner`, named by the kind of ask it takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...core.entry_points import entry_points_of
from ...core.errors import AskError, BackendError, did_you_mean
from ...core.registry import Registry
from .base import (
    Ask,
    Declined,
    Draft,
    Planner,
    PlannerFactory,
    PlannerReply,
    PlannerSetup,
    Proposal,
    Question,
    RecordAnswer,
    Turn,
)
from .files import CompiledPlanner, PlanFilePlanner
from .slash import SlashPlanner

if TYPE_CHECKING:
    from ...core.workspace import Workspace

__all__ = [
    "PLAIN_LANGUAGE",
    "Ask",
    "Declined",
    "Draft",
    "Planner",
    "PlannerFactory",
    "PlannerReply",
    "PlannerSetup",
    "Proposal",
    "Question",
    "RecordAnswer",
    "Turn",
    "planners",
    "propose",
]

GROUP = "opswright.planners"
PLAIN_LANGUAGE = "phrases"  # the planner of what is neither a command nor a file


def planners() -> Mapping[str, PlannerFactory]:
    """Every planner by the kind of ask it takes; BackendError for two of one kind."""
    found: dict[str, PlannerFactory] = {
        "plan_file": lambda setup: PlanFilePlanner(setup.registry, setup.workspace),
        "compiled_plan": lambda setup: CompiledPlanner(setup.registry),
        "slash": lambda setup: SlashPlanner(setup.registry, setup.workspace),
        "phrases": _phrases,
    }
    for point in entry_points_of(GROUP):
        if point.name in found:
            raise BackendError(f"two planners take asks of kind '{point.name}'; uninstall one of them.")
        found[point.name] = point.load()
    return found


def _phrases(setup: PlannerSetup) -> Planner:
    from .phrases import PhrasesPlanner

    return PhrasesPlanner(setup.registry, setup.workspace)


def propose(
    ask: Ask, registry: Registry, workspace: Workspace, conversation: Sequence[Turn] = ()
) -> PlannerReply:
    """What the planner for this kind of ask proposes; AskError for a kind that nobody plans."""
    known = planners()
    if ask.kind not in known:
        raise AskError(
            f"no planner for asks of kind '{ask.kind}' (there are: {', '.join(known)})."
            + did_you_mean(ask.kind, known)
        )
    return known[ask.kind](PlannerSetup(registry, workspace)).propose(ask, conversation)
