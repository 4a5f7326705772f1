"""Planners: each turns what a person asked into a proposed plan or a question, and can do nothing else.

They are found in a registry: the built-in ones, and what packages bring as entry point `opswright.planners`:
a function `(PlannerSetup) -> Planner`, named by the kind of ask it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...core.contract import Cost
from ...core.errors import AskError, BackendError, did_you_mean
from ...core.plan import Plan
from ...core.registry import Registry, entry_points_of

if TYPE_CHECKING:
    from ...core.workspace import Workspace

GROUP = "opswright.planners"


@dataclass(frozen=True)
class Ask:
    """What a person asked, and the kind of planner that takes it: plan_file, compiled_plan, slash, ..."""

    kind: str
    text: str


@dataclass(frozen=True)
class Turn:
    """One message of the conversation before an ask: `speaker` is user or agent."""

    speaker: str
    text: str


@dataclass(frozen=True)
class Proposal:
    """A plan that would do what was asked, once; nothing is recorded or run by it.

    folder: where its relative inputs lie. cost: what planning itself took, as with a model.
    """

    plan: Plan
    source: str
    folder: Path = field(default_factory=Path.cwd)
    cost: Cost | None = None


@dataclass(frozen=True)
class Question:
    """What a planner must know first; `choices` are answers it would understand."""

    text: str
    choices: tuple[str, ...] = ()


class Planner(Protocol):
    """Called once for each ask."""

    def propose(self, ask: Ask, conversation: Sequence[Turn]) -> Proposal | Question:
        """The plan that would do what was asked; AskError when it cannot be planned."""


@dataclass(frozen=True)
class PlannerSetup:
    """What a planner may look at."""

    registry: Registry
    workspace: Workspace


PlannerFactory = Callable[[PlannerSetup], Planner]


def planners() -> Mapping[str, PlannerFactory]:
    """Every planner by the kind of ask it takes; BackendError for two of one kind."""
    from .files import CompiledPlanner, PlanFilePlanner
    from .slash import SlashPlanner

    found: dict[str, PlannerFactory] = {
        "plan_file": lambda setup: PlanFilePlanner(setup.registry, setup.workspace),
        "compiled_plan": lambda setup: CompiledPlanner(setup.registry),
        "slash": lambda setup: SlashPlanner(setup.registry, setup.workspace),
    }
    for point in entry_points_of(GROUP):
        if point.name in found:
            raise BackendError(f"two planners take asks of kind '{point.name}'; uninstall one of them.")
        found[point.name] = point.load()
    return found


def propose(
    ask: Ask, registry: Registry, workspace: Workspace, conversation: Sequence[Turn] = ()
) -> Proposal | Question:
    """What the planner for this kind of ask proposes; AskError for a kind that nobody plans."""
    known = planners()
    if ask.kind not in known:
        raise AskError(
            f"no planner for asks of kind '{ask.kind}' (there are: {', '.join(known)})."
            + did_you_mean(ask.kind, known)
        )
    return known[ask.kind](PlannerSetup(registry, workspace)).propose(ask, conversation)
