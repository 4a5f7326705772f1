"""Serving follows judgement: whether some gate judged GO what a step would serve.

A verdict counts when its gate belongs to this run, or to an earlier one whose plan somebody approved: a gate
that anyone typed for themselves, with whatever bars, opens no door. The newest verdict of each suite counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.artifacts import ArtifactRef, ArtifactStore, BundleRef, CheckpointRef, EvalReportRef, parse_ref
from ..core.contract import Effect
from ..core.errors import AskError, OpswrightError
from ..core.gate import Decision
from ..core.workspace import Workspace
from ..record.index import LedgerIndex
from ..record.ledger import Record
from ..record.run_state import RunState

_MODELS = (BundleRef, CheckpointRef)


@dataclass(frozen=True)
class ServingJudgement:
    """Whether a model may be served, and the verdicts behind that, in words."""

    allowed: bool
    message: str


def judgement_on(workspace: Workspace, served: Iterable[ArtifactRef], run: RunState) -> ServingJudgement:
    """Whether gates judged GO every model among the artifacts that a step of this run serves."""
    said = []
    for ref in served:
        if not isinstance(ref, _MODELS):
            continue
        subjects = models_behind(workspace.artifacts, ref)
        newest: dict[str, tuple[Record, str]] = {}
        for record, request, decision in _verdicts(workspace, run, subjects):
            if subjects & _judged(workspace.artifacts, request):
                newest[_suite(record, request)] = (record, decision)
        against = [one for one in newest.values() if one[1] == Decision.NO_GO]
        good = [one for one in newest.values() if one[1] == Decision.GO]
        if against:
            return ServingJudgement(False, f"{_line(against[0])} said NO_GO of {ref.short}")
        if not good:
            return ServingJudgement(
                False, f"no gate judged {ref.short}, or the checkpoint it was built from, GO"
            )
        said.append(f"{ref.short}: GO by {_line(good[-1])}")
    return ServingJudgement(True, "; ".join(said))


def models_behind(store: ArtifactStore, ref: ArtifactRef) -> set[str]:
    """A bundle and the checkpoint it was built from, or the checkpoint; never what that was trained from."""
    found, waiting = {str(ref)}, [ref]
    while waiting:
        one = waiting.pop()
        if isinstance(one, CheckpointRef):
            continue
        for parent in store.open(one).parents:
            if isinstance(parent, _MODELS) and parent not in found:
                found.add(str(parent))
                waiting.append(parent)
    return found


def _judged(store: ArtifactStore, request: Mapping[str, Any]) -> set[str]:
    """The models that a gate's request is about: named in it, or measured in the report it names."""
    found = set()
    for value in request.values():
        try:
            ref = parse_ref(value) if isinstance(value, str) and ":" in value else None
        except AskError:
            continue
        if isinstance(ref, _MODELS):
            found.add(str(ref))
        elif isinstance(ref, EvalReportRef):
            try:
                found |= {str(parent) for parent in store.open(ref).parents if isinstance(parent, _MODELS)}
            except OpswrightError:  # a report that is gone or damaged proves nothing
                continue
    return found


def _verdicts(
    workspace: Workspace, run: RunState, subjects: Iterable[str]
) -> Iterator[tuple[Record, Mapping[str, Any], str]]:
    """Every verdict that may count of these models, oldest first: its record, the request, the decision."""
    earlier = (
        state
        for state in LedgerIndex.of(workspace).runs_that_judged(subjects)
        if state.run != run.run and state.approvals
    )
    found = [
        (step.finished, step.request, str(verdict["decision"]))
        for state in (*earlier, run)
        for step in state.begun
        if step.effect == Effect.READS and (verdict := step.verdict) is not None and step.finished is not None
    ]
    yield from sorted(found, key=lambda one: one[0].seq)


def _suite(record: Record, request: Mapping[str, Any]) -> str:
    spec = request.get("spec")
    return str(spec.get("suite", "")) if isinstance(spec, Mapping) else str(record.skill)


def _line(one: tuple[Record, str]) -> str:
    record, _ = one
    return f"{record.step} of run {record.run} (record {record.seq})"
