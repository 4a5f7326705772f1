"""What a planner takes and gives: an ask and what was said before it; a proposal or a reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...core.contract import Cost
from ...core.plan import Plan
from ...core.registry import Registry

if TYPE_CHECKING:
    from ...core.workspace import Workspace

Draft = Mapping[str, Any]
"""A plan as far as it was understood, as plain JSON: goal, budget, gates and steps as a plan file has them.

Of a question also what is open, `asked: {step, field}`. It comes back with the next ask, so that "the other
suite" or "200 steps" says what it changes; it is data, and compiled like a plan file."""


@dataclass(frozen=True)
class Ask:
    """What a person asked, and the kind of planner that takes it: plan_file, slash, phrases, ..."""

    kind: str
    text: str


@dataclass(frozen=True)
class Turn:
    """One message of the conversation before an ask: `speaker` is user or agent.

    draft: what the planner then proposed or asked about; run: the run that came of it.
    """

    speaker: str
    text: str
    draft: Draft | None = None
    run: str | None = None


@dataclass(frozen=True)
class Proposal:
    """A plan that would do what was asked, once; nothing is recorded or run by it.

    folder: where its relative inputs lie. cost: what planning itself took, as with a model.
    is_typed: whether the words name skill and arguments exactly; plain language never does.
    """

    plan: Plan
    source: str
    folder: Path = field(default_factory=Path.cwd)
    cost: Cost | None = None
    draft: Draft | None = None
    is_typed: bool = True


@dataclass(frozen=True)
class Question:
    """What a planner must know first; `choices` are answers it would understand."""

    text: str
    choices: tuple[str, ...] = ()
    draft: Draft | None = None


@dataclass(frozen=True)
class RecordAnswer:
    """What the record says, with the ledger's sequence numbers it says it by; nothing is proposed.

    about: what was asked about, in a word. commands: where to read on.
    """

    text: str
    about: str
    records: tuple[int, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declined:
    """Why nothing is proposed: what was understood, and the exact commands that would do it, if any."""

    text: str
    reason: str
    commands: tuple[str, ...] = ()


PlannerReply = Proposal | Question | RecordAnswer | Declined


class Planner(Protocol):
    """Called once for each ask."""

    def propose(self, ask: Ask, conversation: Sequence[Turn]) -> PlannerReply:
        """The plan that would do what was asked, or a reply; AskError when it cannot be planned."""


@dataclass(frozen=True)
class PlannerSetup:
    """What a planner may look at."""

    registry: Registry
    workspace: Workspace


PlannerFactory = Callable[[PlannerSetup], Planner]
