"""Which verdicts count about a model that is served: one rule, for the agent that enforces it and the audit.

A verdict counts when its gate belongs to this run, or to another one whose plan somebody had approved before
the gate began: a gate that anyone typed for themselves, with whatever bars, opens no door. The newest GO or
NO_GO of each suite stands; a gate that could not decide takes nothing back. What something was made from is
what a step was given that the ledger says made it: a file that anyone saved beside them proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from ..core.contract import Effect
from ..core.gate import Decision
from ..core.references import references_at
from .ledger import Phase, Record
from .run_state import FINISHED, RunState, StepState

REPORT = "eval-report"
_MODELS = ("bundle", "checkpoint", "adapter")
_MAKES = frozenset({Phase.DONE, Phase.REUSED})

MadeFrom = Callable[[str], AbstractSet[str]]  # the artifacts that a recorded step made an artifact from


def kind_of(ref: str) -> str:
    """The kind of an artifact, by its reference."""
    return ref.partition(":")[0]


def is_model(ref: str) -> bool:
    """Whether a reference is to something that can be served and judged."""
    return kind_of(ref) in _MODELS


@dataclass(frozen=True)
class GateOutcome:
    """A gate's decision: the record that holds it, the suite, what was decided, in which run and step.

    approved: whether consent to the run's plan stood when the gate began.
    """

    seq: int
    suite: str
    decision: str
    run: str
    approved: bool
    step: str = ""


def given_to(request: object) -> set[str]:
    """The artifacts that a recorded request names, however deep."""
    return {str(ref) for _, ref in references_at(request)}


def made_by(step: StepState, record: Record) -> Iterator[tuple[str, set[str]]]:
    """Each artifact that a record says its step made or took over, with what the step was given."""
    if record.phase in _MAKES and record.artifacts:
        given = given_to(_begun(step, record).detail.get("request") or step.request)
        for ref in record.artifacts.values():
            yield str(ref), given


def made_from(given: AbstractSet[str], parents: Iterable[str] | None) -> set[str]:
    """Of what the step was given that made an artifact, what the artifact says it was made of.

    parents: None when the artifact cannot be read: then all that the step was given.
    """
    return set(given) if parents is None else set(given) & {str(parent) for parent in parents}


def models_behind(ref: str, made: MadeFrom) -> set[str]:
    """A bundle, bundles it was made from and what those were built from; a checkpoint or adapters alone."""
    found, waiting = {str(ref)}, [str(ref)]
    while waiting:
        one = waiting.pop()
        if kind_of(one) == "bundle":  # what a checkpoint was trained from is another model
            near = {name for name in made(one) if is_model(name)} - found
            found |= near
            waiting += near
    return found


def models_judged(request: object, made: MadeFrom) -> set[str]:
    """The models that a gate's request is about: named in it, or measured in the reports it names."""
    refs = given_to(request)
    measured = (made(ref) for ref in refs if kind_of(ref) == REPORT)
    return {ref for ref in refs.union(*measured) if is_model(ref)}


def outcome_of(
    run: RunState, step: StepState, record: Record
) -> tuple[GateOutcome, Mapping[str, Any]] | None:
    """What a gate decided in a record of its step, and its request; None for any other record."""
    result = record.detail.get("result")
    verdict = result.get("verdict") if isinstance(result, Mapping) else None
    if record.phase not in FINISHED or record.effect != Effect.READS or not isinstance(verdict, Mapping):
        return None
    begun = _begun(step, record)
    request = begun.detail.get("request") or step.request
    spec = request.get("spec")
    suite = str(spec.get("suite", "")) if isinstance(spec, Mapping) else str(record.skill)
    consent = _consent_stood(run, begun)
    decision = str(verdict.get("decision"))
    return GateOutcome(record.seq, suite, decision, run.run, consent, step.id), request


def standing(outcomes: Iterable[GateOutcome], run: str) -> dict[str, GateOutcome]:
    """The newest GO or NO_GO of each suite that counts for a run."""
    found: dict[str, GateOutcome] = {}
    for one in outcomes:
        counts = (one.approved or one.run == run) and one.decision in (Decision.GO, Decision.NO_GO)
        before = found.get(one.suite)
        if counts and (before is None or before.seq < one.seq):
            found[one.suite] = one
    return found


def _begun(step: StepState, record: Record) -> Record:
    """The record with which what this one ends began: its intent; a reused call's own record."""
    if record.phase == Phase.REUSED:
        return record
    return next((one for one in reversed(step.intents) if one.seq < record.seq), record)


def _consent_stood(run: RunState, begun: Record) -> bool:
    """Whether somebody had approved the plan that a record acts on, and not taken it back, by then."""
    before = RunState.of(run.run, takewhile(lambda record: record.seq < begun.seq, run.records))
    return any(approval.plan == begun.plan == run.plan for approval in before.approvals)
