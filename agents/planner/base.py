"""What a planner takes and gives: an ask and the conversation before it, a proposal or a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...core.contract import Cost
from ...core.plan import Plan
from ...core.registry import Registry

if TYPE_CHECKING:
    from ...core.workspace import Workspace


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
