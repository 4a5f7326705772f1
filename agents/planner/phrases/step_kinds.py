"""What a step is to the others of its plan: what it judges, what it gives, what it waits for."""

from __future__ import annotations

from ....core.artifact_refs import EvalReportRef
from ....core.contract import Effect
from .clauses import Clause
from .drafts import PlanDraft, StepDraft
from .lexicon import Lexicon
from .words import SMALL


def judges_what_is_made(step: StepDraft, lexicon: Lexicon) -> bool:
    """Whether a step only judges a report that an earlier step of the plan gives, or none."""
    reports = [
        one for one in lexicon.fields[step.skill.name] if one.is_required and EvalReportRef.kind in one.kinds
    ]
    given = [str(step.arguments.get(one.name, "${")) for one in reports]
    reads = step.skill.effect is Effect.READS
    return reads and bool(reports) and all(value.startswith("${") for value in given)


def waits(clause: Clause, draft: PlanDraft) -> bool:
    """Whether what serves comes after something that no step does: "after the meeting, promote ..."."""
    serves = any(step.skill.effect is Effect.SERVES for step in draft.steps)
    said = [token.key for token in clause.whole if token.kind == "word"]
    return serves and said[:1] in (["after"], ["following"], ["upon"]) and bool(set(said[1:]) - SMALL)


def is_valued(said: str) -> bool:
    """Whether what is left over is more than a plain word: a number, a path, a reference."""
    return not said.isalpha()


def gives_report(step: StepDraft) -> bool:
    """Whether a step measures a model and gives the report."""
    return any(name == "report" for name, _ in step.outputs())
