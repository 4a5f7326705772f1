"""What a planner takes and gives: an ask and what was said before it; a proposal or a reply."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ...core.contract import Cost
from ...core.plan import Plan
from ...core.principal import Principal
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

    draft: what the planner then proposed or asked about; run: the run that came of it. by: which user, where
    several share a conversation; empty: who asks now.
    """

    speaker: str
    text: str
    draft: Draft | None = None
    run: str | None = None
    by: str = ""


@dataclass(frozen=True)
class PlannedBy:
    """Which planner made a reply, and of what.

    prompts: SHA-256 of each prompt by its name and version. read: the tools whose results it saw, so that
    what others wrote may have moved it. instead_of: why another planner than the one asked made the reply.
    endpoint: the address that was asked. message: what the records of its spending name it by.
    """

    kind: str
    model: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    read: tuple[str, ...] = ()
    turns: int = 0
    tokens: int = 0
    usd: float | None = None
    seconds: float = 0.0
    instead_of: str = ""
    endpoint: str = ""
    message: str = ""

    @property
    def in_words(self) -> str:
        """What a person should know of it; empty where no model had a part."""
        if self.instead_of:
            return f"Planned without a model: {self.instead_of}."
        if not self.model:
            return ""
        read = f" after reading {', '.join(self.read)}" if self.read else ""
        return f"By the model {self.model}{read}."

    def document(self) -> dict[str, Any]:
        """As records keep it."""
        return {**asdict(self), "read": list(self.read), "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class Proposal:
    """A plan that would do what was asked, once; nothing is recorded or run by it.

    folder: where its relative inputs lie. cost: what planning itself took, as with a model.
    is_typed: whether the words name skill and arguments exactly; plain language never does. is_change:
    whether it is what was proposed or asked about last, with something of it changed. notes: what whoever is
    asked to approve should know of how it was planned.
    """

    plan: Plan
    source: str
    folder: Path = field(default_factory=Path.cwd)
    cost: Cost | None = None
    draft: Draft | None = None
    is_typed: bool = True
    is_change: bool = False
    planned_by: PlannedBy | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """What a planner must know first; `choices` are answers it would understand."""

    text: str
    choices: tuple[str, ...] = ()
    draft: Draft | None = None
    planned_by: PlannedBy | None = None


@dataclass(frozen=True)
class RecordAnswer:
    """What the record says, with the ledger's sequence numbers it says it by; nothing is proposed.

    about: what was asked about, in a word. commands: where to read on.
    """

    text: str
    about: str
    records: tuple[int, ...] = ()
    commands: tuple[str, ...] = ()
    planned_by: PlannedBy | None = None


@dataclass(frozen=True)
class Declined:
    """Why nothing is proposed: what was understood, and the exact commands that would do it, if any."""

    text: str
    reason: str
    commands: tuple[str, ...] = ()
    planned_by: PlannedBy | None = None


PlannerReply = Proposal | Question | RecordAnswer | Declined


class Planner(Protocol):
    """Called once for each ask."""

    def propose(self, ask: Ask, conversation: Sequence[Turn]) -> PlannerReply:
        """The plan that would do what was asked, or a reply; AskError when it cannot be planned."""


@dataclass(frozen=True)
class PlanningEvent:
    """What a planner does meanwhile: what it thinks aloud (the whole text of this turn), calls, or notes."""

    kind: Literal["thinking", "tool", "note"]
    text: str
    turn: int = 0


PlanningEvents = Callable[[PlanningEvent], None]


def unheard(event: PlanningEvent) -> None:
    """Events that nobody listens to."""


@dataclass(frozen=True)
class PlannerSetup:
    """What a planner may look at, for whom it plans, who is told meanwhile, and whether it is to stop.

    principal: whose rights bound what it may read; None: nobody's, so that it reads nothing of the record.
    """

    registry: Registry
    workspace: Workspace
    principal: Principal | None = None
    events: PlanningEvents = unheard
    cancelled: threading.Event = field(default_factory=threading.Event)


PlannerFactory = Callable[[PlannerSetup], Planner]
