"""Serving follows judgement: whether some gate judged GO what a step would serve.

Which verdicts count is said in `record.judging`, for the audit as well. What decides is read from the ledger
itself and not through its index, which somebody could have left rows out of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..core.artifact_refs import ArtifactRef, BundleRef, CheckpointRef, GuardrailRef, parse_ref
from ..core.artifacts import ArtifactStore
from ..core.errors import OpswrightError
from ..core.gate import Decision
from ..core.workspace import Workspace
from ..record.endpoint_history import history_of
from ..record.judging import (
    REPORT,
    GateOutcome,
    kind_of,
    made_by,
    made_from,
    models_behind,
    models_judged,
    outcome_of,
    standing,
)
from ..record.ledger import Ledger
from ..record.run_state import FINISHED, RunState
from ..record.scan import LedgerScan


@dataclass(frozen=True)
class ServingJudgement:
    """Whether a model may be served, and the verdicts behind that, in words."""

    allowed: bool
    message: str


def judgement_on(workspace: Workspace, served: Iterable[ArtifactRef], run: RunState) -> ServingJudgement:
    """Whether gates judged GO every model among the artifacts that a step of this run serves.

    AskError or IntegrityError when one of them is not in the store, or damaged.
    """
    said = []
    for ref in dict.fromkeys(served):
        if isinstance(ref, GuardrailRef) and not _was_made(workspace, ref):
            return ServingJudgement(False, f"no recorded step made {ref.short}")
        if not isinstance(ref, BundleRef | CheckpointRef):
            continue
        workspace.artifacts.open(ref)
        found = standing(_Evidence.about(workspace, ref, run.run).outcomes(), run.run).values()
        against = [one for one in found if one.decision == Decision.NO_GO]
        good = [one for one in found if one.decision == Decision.GO]
        if against:
            return ServingJudgement(False, f"{_line(against[0])} said NO_GO of {ref.short}")
        if not good:
            return ServingJudgement(False, f"no gate judged {ref.short}, or what it was built from, GO")
        said.append(f"{ref.short}: GO by {_line(good[-1])}")
    return ServingJudgement(True, "; ".join(said))


def had_before(workspace: Workspace, endpoint: str, served: Iterable[ArtifactRef]) -> ServingJudgement:
    """Whether everybody got these artifacts, together, from an endpoint before: no gate is asked again."""
    refs = list(served)
    wanted = {str(ref) for ref in refs}
    history = history_of(LedgerScan(Ledger.of(workspace)), endpoint)
    stable = [
        {part for part in history.releases[one] if part}
        for one in history.was_stable
        if one in history.releases
    ]
    if not wanted or wanted in stable:
        return ServingJudgement(True, "")
    names = " with ".join(sorted(ref.short for ref in refs))
    message = f"no record says that everybody got {names} from endpoint {endpoint} before"
    return ServingJudgement(False, message)


def _was_made(workspace: Workspace, ref: ArtifactRef) -> bool:
    """Whether a finished step of some run gave an artifact; rails answer users too."""
    records = LedgerScan(Ledger.of(workspace)).naming([str(ref)])
    return any(record.phase in FINISHED and str(ref) in record.artifacts.values() for record in records)


def is_all_of(workspace: Workspace, run: RunState) -> bool:
    """Whether the ledger has no other records of a run than its state was folded from."""
    found = LedgerScan(Ledger.of(workspace)).runs([run.run]).get(run.run, RunState(run.run))
    return [record.hash for record in found.records] == [record.hash for record in run.records]


@dataclass
class _Evidence:
    """The runs that have to do with a model, read from the ledger, and what their steps made from what."""

    scan: LedgerScan
    store: ArtifactStore
    runs: dict[str, RunState] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)
    _given: dict[str, set[str]] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)

    @classmethod
    def about(cls, workspace: Workspace, ref: ArtifactRef, run: str) -> _Evidence:
        """All that the ledger has on a model: its making, its evaluations, its gates."""
        found = cls(LedgerScan(Ledger.of(workspace)), workspace.artifacts)
        found._read([run])
        models = {str(ref)}
        while models - found._asked:  # the bundle first, then what its makers built it from
            found._read_naming(models)
            models = models_behind(ref, found._made_from)
        found.models = models
        found._read_naming(
            {made for made, given in found._given.items() if kind_of(made) == REPORT and given & models}
        )
        return found

    def outcomes(self) -> list[GateOutcome]:
        """What gates decided about the model."""
        told = (
            outcome_of(run, step, record)
            for run in self.runs.values()
            for step in run.steps.values()
            for record in step.records
        )
        return sorted(
            (one for one, request in filter(None, told) if self._is_judged_by(request)), key=lambda o: o.seq
        )

    def _is_judged_by(self, request: object) -> bool:
        return not self.models.isdisjoint(models_judged(request, self._made_from))

    def _read_naming(self, things: Iterable[str]) -> None:
        """Take in the runs with a record that names one of these."""
        new = set(things) - self._asked
        self._asked |= new
        self._read(record.run for record in self.scan.naming(new) if record.run is not None)

    def _read(self, names: Iterable[str]) -> None:
        for name, run in self.scan.runs(set(names) - self.runs.keys()).items():
            self.runs[name] = run
            for step in run.steps.values():
                for record in step.records:
                    for ref, given in made_by(step, record):
                        self._given.setdefault(ref, set()).update(given)

    def _made_from(self, ref: str) -> set[str]:
        """What a recorded step made an artifact from, as far as the artifact itself does not deny it."""
        given = self._given.get(ref, set())
        try:
            return made_from(given, self.store.open(parse_ref(ref)).parents) if given else given
        except OpswrightError:  # a report that is gone takes no verdict with it
            return made_from(given, None)


def _line(one: GateOutcome) -> str:
    return f"{one.step} of run {one.run} (record {one.seq})"
