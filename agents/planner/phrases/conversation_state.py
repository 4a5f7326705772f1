"""What was said before in a conversation: the newest draft, what of it is open, what "it" refers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ....core.references import references_in
from ....core.registry import Registry
from ....record.index import LedgerIndex
from ..base import Turn
from .drafts import PlanDraft, from_document

if TYPE_CHECKING:
    from ....core.workspace import Workspace


@dataclass
class ConversationState:
    """What the conversation left: the newest draft, what of it is open, and the artifacts last spoken of."""

    draft: PlanDraft | None = None
    asked: tuple[str, str] | None = None
    goal: str = ""
    runs: list[str] = field(default_factory=list)  # newest first
    said: str = ""  # by the person, last, where the reply held no draft
    is_open: bool = False  # the newest draft was proposed and not run
    at_hand: list[Any] = field(default_factory=list)  # references and paths, newest first

    @classmethod
    def of(cls, conversation: Sequence[Turn], registry: Registry, workspace: Workspace) -> ConversationState:
        """What these turns left, as the ledger has their runs now."""
        before = cls()
        for turn in reversed(conversation):
            if turn.run is not None and turn.run not in before.runs:
                before.runs.append(turn.run)
        if conversation and (last := conversation[-1]).speaker == "agent" and last.draft is not None:
            _take_draft(before, last, registry)
        if before.draft is None:
            before.said = next((turn.text for turn in reversed(conversation) if turn.speaker == "user"), "")
        index = LedgerIndex.of(workspace) if before.runs else None
        for run in before.runs[:20]:
            state = index.run_state(run) if index is not None else None
            if state is None:
                continue
            if run == before.runs[0] and before.draft is not None and conversation[-1].run == run:
                before.is_open = state.status == "waiting"
            for result in reversed(list(state.results.values())):
                before.at_hand += references_in(dict(result))
        if before.draft is not None and conversation[-1].run is None:
            before.is_open = True  # nothing was made of it yet
        if before.draft is not None:
            for step in reversed(before.draft.steps):
                before.at_hand += references_in(step.arguments)
        return before


def _take_draft(before: ConversationState, turn: Turn, registry: Registry) -> None:
    document = turn.draft or {}
    try:
        draft = from_document(document, registry)
        asked = document.get("asked")
        before.asked = (str(asked["step"]), str(asked["field"])) if asked else None
    except (KeyError, TypeError, ValueError, IndexError):  # written by a planner of another kind
        return
    if draft.steps:
        before.draft, before.goal = draft, str(document.get("goal", ""))
