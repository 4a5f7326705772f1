"""Verify: one walk over the ledger with the checks of each record, then those of everything beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ...core.errors import BackendError, IntegrityError
from ...core.workspace import Workspace
from ..ledger import Fault, Ledger, Record
from ..mirror.remembered import read_views
from ..run_state import RunState
from .authority import Policies
from .checks import CHECKS, Check, RecordCheck, WorkspaceCheck
from .lineage import Lineage
from .moment import History, Moment, Note, Scope
from .plans import PlanStore
from .report import AuditReport, Checked, FaultCollector
from .run_checks import unfinished
from .signature import read_signed
from .workspace_checks import Evidence, View, parse_anchor

_MALFORMED = (AttributeError, KeyError, TypeError, ValueError)


def anchor(workspace: Workspace) -> str:
    """The head of the ledger as `number:hash`, to be kept somewhere that this machine cannot change."""
    seq, digest = Ledger.of(workspace).head()
    return f"{seq}:{digest}"


def verify(
    workspace: Workspace,
    *,
    mlflow: bool | None = None,
    artifacts: bool = True,
    anchors: tuple[str, ...] = (),
    signatures: tuple[Path, ...] = (),
    key: Path | None = None,
    effects: Mapping[str, str] | None = None,
    policies: Policies | None = None,
    checks: Sequence[Check] = CHECKS,
) -> AuditReport:
    """Hold everything that is recorded against everything else, offline.

    `mlflow`: compare with MLflow too; None does so where there is one to compare with, and notes when it
    does not answer (True raises BackendError then). `artifacts`: read every artifact's bytes. `anchors`:
    heads kept elsewhere (see `anchor`), and `signatures`: files of signed heads, checked with the public
    `key`: both show a cut tail or a full rewrite. `effects`: what each installed skill declares. `policies`:
    the policy of a digest. AskError for an anchor or a key that does not parse.
    """
    evidence = Evidence(
        workspace,
        History(Lineage(workspace.artifacts.root)),
        tuple(parse_anchor(text) for text in anchors),
        tuple(read_signed(path, key) for path in signatures if key is not None),
    )
    evidence.reads_artifacts = artifacts
    scope = Scope(workspace, PlanStore(workspace.root / "plans"), effects, policies)
    return _Audit(evidence, scope, checks).run(mlflow)


class _Audit:
    """One audit: the checks, what they found, and the runs that are not over."""

    def __init__(self, evidence: Evidence, scope: Scope, checks: Sequence[Check]) -> None:
        self.evidence = evidence
        self.scope = scope
        self.checks = checks
        self.found = {check.name: FaultCollector(check.name, check.remedy) for check in checks}
        self.asked: dict[tuple[str, bool], int] = {}  # (phase, whether of a step) -> records
        self.runs: dict[str, RunState] = {}
        self.view: View | None = None
        self.not_done: dict[str, str] = {}
        self._by_phase: dict[tuple[str, bool], list[RecordCheck]] = {}

    def run(self, mlflow: bool | None) -> AuditReport:
        """The whole audit."""
        started = time.monotonic()
        self._read_outside()
        self._open_view(mlflow)
        for item in Ledger.of(self.scope.workspace).walk():
            if isinstance(item, Fault):
                self.evidence.break_ = item
                break
            self._take(item)
        self._note_open_ends()
        checked = tuple(self._finish(check) for check in self.checks)
        head = self.evidence.head
        faults = [fault for found in self.found.values() for fault in found.faults]
        notes = [note for found in self.found.values() for note in found.notes]
        return AuditReport(
            head,
            head,
            self.evidence.head_hash,
            tuple(sorted(faults, key=lambda fault: fault.seq or head + 1)),
            tuple(sorted(notes, key=lambda note: note.seq)),
            checked,
            round(time.monotonic() - started, 3),
        )

    def _take(self, record: Record) -> None:
        """Check the next record against its run as it was, then apply it."""
        name = record.run or ""
        run = self.runs.get(name)
        if run is None:
            run = RunState(name)
            if record.run is not None:
                self.runs[name] = run
        plan = self.scope.plans.get(record.plan) if record.plan else None
        at = Moment(record, run, self.evidence.past, self.scope, plan)
        is_whole = self._ask(at)
        try:
            run.apply(record)
            self.evidence.past.take(at)
            if self.view is not None:
                self.view.take(record, run)
        except _MALFORMED as error:
            if is_whole:
                self._say_malformed(record, error)
        if record.seq in self.evidence.wanted:
            self.evidence.take(record)
        self.evidence.last = record
        if record.step is None and name in self.evidence.past.over:
            self.runs.pop(name, None)

    def _ask(self, at: Moment) -> bool:
        """Put the record to each check of its phase; whether it has the form that they expect."""
        record = at.record
        place = (record.phase, record.step is not None)
        if place not in self._by_phase:
            self._by_phase[place] = list(self._checks_of(*place))
            self.asked[place] = 0
        is_late = record.run in at.past.over  # said once: nothing else about such a record tells more
        self.asked[place] += 1
        for check in self._by_phase[place]:
            if is_late and check.phases is not None:
                continue
            try:
                for said in check.function(at):
                    self._say(check, record, said)
            except _MALFORMED as error:
                self._say_malformed(record, error)
                return False
        return True

    def _say(self, check: RecordCheck, record: Record, said: str | Note) -> None:
        if isinstance(said, Note):
            self.found[check.name].note(*said)
        else:
            self.found[check.name].fault(record.seq, f"record {record.seq} {said}")

    def _checks_of(self, phase: str, is_step: bool) -> Iterator[RecordCheck]:
        for check in self.checks:
            if not isinstance(check, RecordCheck) or (check.of_steps and not is_step):
                continue
            if check.phases is None or phase in check.phases:
                yield check

    def _say_malformed(self, record: Record, error: Exception) -> None:
        if (found := self.found.get("records")) is not None:
            message = f"record {record.seq} does not have the form of a '{record.phase}' record: {error!r}"
            found.fault(record.seq, message)

    def _finish(self, check: Check) -> Checked:
        """What a check looked at, after the last of it."""
        not_done = self.not_done.get(check.name, "")
        if isinstance(check, WorkspaceCheck) and not not_done:
            looked = check.function(self.evidence, self.found[check.name])
            count, not_done = (looked, "") if isinstance(looked, int) else (0, looked)
            return Checked(check.name, check.looks_at, count, not_done)
        places = [place for place, checks in self._by_phase.items() if check in checks]
        count = 0 if not_done else sum(self.asked[place] for place in places)
        return Checked(check.name, check.looks_at, count, not_done)

    def _note_open_ends(self) -> None:
        """What is begun and not ended, and what could not be held against a policy."""
        held = (name for name, run in self.runs.items() if self._is_held(name, run))
        if (found := self.found.get("order")) is not None:
            for note in unfinished(self.runs, held):
                found.note(*note)
        first = self.evidence.past.first_without_policy
        if self.scope.policies is None:
            self.not_done |= dict.fromkeys(("policy", "months"), "no policy is at hand")
        elif first and (found := self.found.get("policy")) is not None:
            judged = "by the default policy" if self.evidence.past.authorities.get("") else "by none"
            found.note(first, f"records that name no policy (from {first} on) were judged {judged}")

    def _is_held(self, name: str, run: RunState) -> bool:
        is_open = any(step.is_open for step in run.begun)
        return is_open and self.scope.workspace.is_held(name)

    def _read_outside(self) -> None:
        """The receipts, and every number of a record that something outside the ledger names."""
        evidence = self.evidence
        for path in sorted((self.scope.workspace.root / "receipts").glob("*.json")):
            try:
                receipt = json.loads(path.read_bytes())
                evidence.receipts.setdefault(int(receipt["seq"]), []).append((path.stem, receipt))
            except (OSError, ValueError, KeyError, TypeError) as error:
                evidence.unread_receipts.append(f"receipt {path.name} does not read: {error!r}")
        evidence.wanted.update(evidence.receipts)
        evidence.wanted.update(seq for seq, _ in evidence.anchors)
        evidence.wanted.update(signed.seq for signed in evidence.signatures)
        evidence.wanted.update(self._remembered())

    def _remembered(self) -> Iterable[int]:
        try:
            return [view.seq for view in (read_views(self.scope.workspace) or {}).values()]
        except IntegrityError:
            return []  # its check says so

    def _open_view(self, mlflow: bool | None) -> None:
        """Read what MLflow shows, where there is something to compare with."""
        if "mlflow" not in self.found:
            return
        if mlflow is False:
            self.not_done["mlflow"] = "not asked for"
            return
        from ..mirror.check import MlflowCheck

        try:
            self.view = self.evidence.view = MlflowCheck.open(self.scope.workspace)
        except BackendError as error:
            if mlflow:
                raise
            self.found["mlflow"].note(0, f"not compared with MLflow: {error}")
            self.not_done["mlflow"] = "MLflow does not answer"
