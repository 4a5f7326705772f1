"""One message of a conversation, read, with what it is about; and the replies that hold a draft."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ....core.compile import compile_plan
from ....core.errors import AskError
from ....core.pins import with_pins
from ....core.registry import Registry
from ....core.text import one_line
from ..base import Declined, PlannerReply, Proposal, Question, Turn
from .asides import without_asides
from .clauses import without_courtesies
from .conversation_state import ConversationState
from .drafts import LONGEST_GOAL, OpenField, PlanDraft, StepDraft
from .fields import field_words
from .lexicon import Lexicon, lexicon_of
from .limits import limits_behind
from .surroundings import Surroundings
from .topics_first import topic_behind

if TYPE_CHECKING:
    from ....core.workspace import Workspace


class Message:
    """The tokens of a text, the words there are for skills, and what was said and made before."""

    changed_goal = ""  # of what was proposed last, while it is looked for in the text what changes that

    def __init__(
        self, text: str, registry: Registry, workspace: Workspace, conversation: Sequence[Turn]
    ) -> None:
        self.text, self.conversation = text, conversation
        self.registry, self.workspace = registry, workspace
        self.lexicon: Lexicon = lexicon_of(registry)
        self.around = Surroundings(workspace)
        self.before = ConversationState.of(conversation, registry, workspace)
        tokens = without_courtesies(self.lexicon.read(text, self.around.names))
        tokens = topic_behind(tokens, self.around.names, self.around.endpoints)
        self.tokens = limits_behind(without_asides(tokens, self.lexicon, self.around.names))
        self.keys = [token.key for token in self.tokens]
        self.draft = PlanDraft()

    @property
    def goal(self) -> str:
        """What the plan is for, in the person's words: of a change what was said before it, too."""
        both = f"{self.changed_goal}; {self.text}" if self.changed_goal else self.text
        return both if len(both) <= LONGEST_GOAL else self.text

    def asking(self, draft: PlanDraft, left: OpenField, step: StepDraft, name: str) -> Question:
        """A question, with the draft it is about."""
        return Question(left.text, left.choices, draft.document(self.goal, (step.id, name)))

    def finished(self, draft: PlanDraft) -> PlannerReply:
        """The compiled plan of a draft, or the question about the first thing that is open."""
        if (left := draft.open_field()) is not None:
            step, name, one = left
            about = f"/{step.skill.name}: " if len(draft.steps) > 1 else ""
            return self.asking(draft, OpenField(f"{about}{one.text}", one.choices), step, name)
        if (lost := _lost_path(draft)) is not None:
            step, name, question = lost
            return self.asking(draft, question, step, name)
        text = with_pins(draft.text(self.goal), self.registry, self.workspace)
        try:
            plan = compile_plan(text, self.registry, self.workspace.artifacts.resolve)
        except AskError as error:
            if (wanted := _wanted(draft, str(error))) is not None:
                return self.asking(draft, wanted[2], wanted[0], wanted[1])
            return Declined(
                f"Understood as {'; '.join(draft.commands())}, which cannot be planned: {error}",
                "invalid",
                draft.commands(),
            )
        document, is_change = draft.document(self.goal), bool(self.changed_goal)
        return Proposal(plan, self.text, draft=document, is_typed=False, is_change=is_change)


def _lost_path(draft: PlanDraft) -> tuple[StepDraft, str, OpenField] | None:
    """The first file that a step is given and that is not there; it is asked for anew."""
    for step in draft.steps:
        for one in field_words(step.skill.request):
            value = step.arguments.get(one.name)
            if not (one.takes_path and not one.takes_text and isinstance(value, str)) or "://" in value:
                continue
            if (
                one.plain_values
                or ":" in value
                or value.startswith("${")
                or Path(value).expanduser().exists()
            ):
                continue
            question = OpenField(f"There is no file or folder '{one_line(value)[:80]}'. Which one is meant?")
            step.missing[one.name] = question
            del step.arguments[one.name]
            return step, one.name, question
    return None


def _wanted(draft: PlanDraft, error: str) -> tuple[StepDraft, str, OpenField] | None:
    """The field that an error says to give: "give either `suite` or `data`"."""
    lacking = re.findall(r"\bneeds `?(\w+)`?(?= \(| and\b|[.,]|$)", error)
    if "give " not in error.lower() and not lacking:
        return None
    for step in draft.steps:
        known = {one.name: one for one in field_words(step.skill.request)}
        for name in [*lacking, *re.findall(r"`(\w+)`", error)]:
            if name in known and name not in step.arguments:
                told = error if lacking else error.rpartition(": ")[2]
                told = f"it needs {name.replace('_', ' ')}. Which one?" if lacking else one_line(told)[:200]
                question = OpenField(f"/{step.skill.name}: {told}")
                step.missing[name] = question
                return step, name, question
    return None
