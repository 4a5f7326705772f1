"""Planners: each turns what a person asked into a proposed plan or a question, and can do nothing else.

They are found in a registry: the built-in ones, and what packages bring as entry point `opswright.planners`:
a function `(PlannerSetup) -> Planner`, named by the kind of ask it takes.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...core.entry_points import entry_points_of
from ...core.errors import AskError, BackendError, did_you_mean
from ...core.principal import Principal
from ...core.registry import Registry
from .base import (
    Ask,
    Declined,
    Draft,
    PlannedBy,
    Planner,
    PlannerFactory,
    PlannerReply,
    PlannerSetup,
    PlanningEvent,
    PlanningEvents,
    Proposal,
    Question,
    RecordAnswer,
    Turn,
    unheard,
)
from .files import CompiledPlanner, PlanFilePlanner
from .slash import SlashPlanner

if TYPE_CHECKING:
    from ...core.workspace import Workspace

__all__ = [
    "PHRASES",
    "PLAIN_LANGUAGE",
    "Ask",
    "Declined",
    "Draft",
    "PlannedBy",
    "Planner",
    "PlannerFactory",
    "PlannerReply",
    "PlannerSetup",
    "PlanningEvent",
    "PlanningEvents",
    "Proposal",
    "Question",
    "RecordAnswer",
    "Turn",
    "planners",
    "propose",
    "unheard",
]

GROUP = "opswright.planners"
PHRASES = "phrases"  # plain language with no model
PLAIN_LANGUAGE = "plain"  # what is neither a command nor a file: read by the planner that settings name


def planners() -> Mapping[str, PlannerFactory]:
    """Every planner by the kind of ask it takes; BackendError for two of one kind."""
    found: dict[str, PlannerFactory] = {
        "plan_file": lambda setup: PlanFilePlanner(setup.registry, setup.workspace),
        "compiled_plan": lambda setup: CompiledPlanner(setup.registry),
        "slash": lambda setup: SlashPlanner(setup.registry, setup.workspace),
        PHRASES: _phrases,
        "llm": _llm,
    }
    for point in entry_points_of(GROUP):
        if point.name in found:
            raise BackendError(f"two planners take asks of kind '{point.name}'; uninstall one of them.")
        found[point.name] = point.load()
    return found


def _phrases(setup: PlannerSetup) -> Planner:
    from .phrases import PhrasesPlanner

    return PhrasesPlanner(setup.registry, setup.workspace)


def _llm(setup: PlannerSetup) -> Planner:
    from .llm import LlmPlanner

    return LlmPlanner(setup)


def propose(
    ask: Ask,
    registry: Registry,
    workspace: Workspace,
    conversation: Sequence[Turn] = (),
    *,
    principal: Principal | None = None,
    events: PlanningEvents = unheard,
    cancelled: threading.Event | None = None,
) -> PlannerReply:
    """What the planner for this kind of ask proposes; AskError for a kind that nobody plans.

    Plain language goes to the planner that settings name. principal, events, cancelled: see `PlannerSetup`.
    """
    known = planners()
    kind = workspace.settings.planner.kind if ask.kind == PLAIN_LANGUAGE else ask.kind
    if kind not in known:
        where = " Change the setting planner.kind." if ask.kind == PLAIN_LANGUAGE else ""
        raise AskError(
            f"no planner for asks of kind '{kind}' (there are: {', '.join(known)})."
            + did_you_mean(kind, known)
            + where
        )
    setup = PlannerSetup(registry, workspace, principal, events, cancelled or threading.Event())
    return known[kind](setup).propose(ask, conversation)
