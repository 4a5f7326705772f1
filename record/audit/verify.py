"""Verify: one walk over the ledger, then what it names: receipts, artifacts, MLflow, anchored heads."""

from __future__ import annotations

import json
import time
from typing import Any

from ...core.artifacts import ArtifactStore, parse_ref
from ...core.errors import AskError, BackendError, OpswrightError
from ...core.files import sha256_json
from ...core.workspace import Workspace
from ..ledger import GENESIS, Fault, Ledger, Phase, Record
from .plans import PlanShelf
from .report import AuditReport, Checked, Findings
from .rules import RunRules


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
) -> AuditReport:
    """Hold everything that is recorded against everything else, offline.

    `mlflow`: compare with MLflow too; None does so where there is one to compare with, and notes when it
    does not answer (True raises BackendError then). `artifacts`: read every artifact's bytes. `anchors`:
    heads kept elsewhere (see `anchor`), which show a cut tail or a full rewrite; AskError when one does
    not parse.
    """
    started = time.monotonic()
    return _Audit(workspace, [_parse_anchor(text) for text in anchors]).run(mlflow, artifacts, started)


class _Audit:
    def __init__(self, workspace: Workspace, anchors: list[tuple[int, str]]) -> None:
        self.workspace = workspace
        self.anchors = anchors
        self.findings = Findings()
        self.plans = PlanShelf(workspace.root / "plans", self.findings)
        self.rules = RunRules(self.plans, self.findings)
        self.checked: list[Checked] = []
        self.named: dict[str, int] = {}  # artifact -> the first record that names it
        self.environments: dict[str, int] = {}  # digest -> the first record that names it
        self.receipts: dict[int, list[tuple[str, dict[str, Any]]]] = {}
        self.hashes: dict[int, str] = {}  # number -> hash, where something outside names that number

    def run(self, mlflow: bool | None, artifacts: bool, started: float) -> AuditReport:
        count = self._read_receipts()
        view = self._view(mlflow)
        seq, digest, whole = self._walk(view)
        self.rules.close(self._held_runs())
        self._note_torn_tails(seq)
        self.checked += [
            Checked("plans", "stored plans that hash to the id records name them by", self.plans.count),
            Checked("approvals", "approvals by a person of the very plan that ran", self.rules.approvals),
            Checked("steps", "calls with the plan's arguments, in order, each done once", self.rules.calls),
            Checked(
                "gates", "verdicts that follow from their rows and the plan's criteria", self.rules.gates
            ),
            Checked("receipts", "receipts that match the record they stand for", count),
        ]
        self._check_receipts(seq, whole)
        self._check_environments()
        self._check_artifacts(artifacts)
        self._check_anchors(seq)
        if view is not None:
            self.checked.append(view.compare(self.findings, seq))
        faults = tuple(sorted(self.findings.faults, key=lambda fault: fault.seq or seq + 1))
        notes = tuple(sorted(self.findings.notes, key=lambda note: note.seq))
        seconds = round(time.monotonic() - started, 3)
        return AuditReport(seq, seq, digest, faults, notes, tuple(self.checked), seconds)

    def _walk(self, view: Any) -> tuple[int, str, bool]:
        """Every record once; gives the last good one, and whether there was nothing bad behind it."""
        seq, digest, whole = 0, GENESIS, True
        wanted = {number for number, _ in self.anchors} | set(self.receipts)
        for item in Ledger.of(self.workspace).walk():
            if isinstance(item, Fault):
                whole = False
                self.findings.fault(item.seq, item.message)
                self.findings.note(item.seq, "records from here on were not looked at: the chain is broken")
                break
            seq, digest = item.seq, item.hash
            self._take(item, wanted)
            if view is not None:
                view.take(item)
        self.checked.append(Checked("chain", "records: number, link to the one before, own hash", seq))
        return seq, digest, whole

    def _take(self, record: Record, wanted: set[int]) -> None:
        self.rules.take(record)
        self.environments.setdefault(record.environment, record.seq)
        for ref in record.artifacts.values():
            self.named.setdefault(ref, record.seq)
        if record.seq in wanted:
            self.hashes[record.seq] = record.hash
        for name, receipt in self.receipts.get(record.seq, ()):
            told = (receipt.get("hash"), sha256_json(receipt.get("result")), receipt.get("artifacts"))
            if record.phase != Phase.DONE or told != (record.hash, record.result, record.artifacts):
                self.findings.fault(
                    record.seq, f"receipt {name} is not what record {record.seq} says was done"
                )

    def _read_receipts(self) -> int:
        count = 0
        for path in sorted((self.workspace.root / "receipts").glob("*.json")):
            count += 1
            try:
                receipt = json.loads(path.read_bytes())
                self.receipts.setdefault(int(receipt["seq"]), []).append((path.name[:16], receipt))
            except (OSError, ValueError, KeyError, TypeError) as error:
                self.findings.fault(0, f"receipt {path.name} does not read: {error!r}")
        return count

    def _check_receipts(self, seq: int, whole: bool) -> None:
        for number, receipts in self.receipts.items():
            if number not in self.hashes and whole:
                for name, _ in receipts:
                    self.findings.fault(0, f"receipt {name} is for record {number}; the ledger ends at {seq}")

    def _check_environments(self) -> None:
        for digest, seq in self.environments.items():
            if Ledger.of(self.workspace).environment(digest) is None:
                message = (
                    f"the versions behind environment {str(digest)[:12]} are not kept, or not as they were"
                )
                self.findings.note(seq, message)
        what = "environments that records name: their versions are kept"
        self.checked.append(Checked("environments", what, len(self.environments)))

    def _check_artifacts(self, wanted: bool) -> None:
        what = "artifacts that records name: there, and every byte as recorded"
        if not wanted:
            self.checked.append(Checked("artifacts", what, 0, "not asked for"))
            return
        store = ArtifactStore(self.workspace.artifacts.root)  # a new one: nothing counts as seen before
        for text, seq in self.named.items():
            try:
                store.open(parse_ref(text))
            except OpswrightError as error:
                self.findings.fault(seq, f"record {seq} names {text.partition(':')[0]}: {error}")
        self.checked.append(Checked("artifacts", what, len(self.named)))

    def _check_anchors(self, head: int) -> None:
        what = "heads kept outside the ledger, in it with the same hash"
        if not self.anchors:
            self.checked.append(Checked("anchors", what, 0, "none was given"))
            return
        for seq, digest in self.anchors:
            found = self.hashes.get(seq)
            if seq and found != digest:
                has = f"it is {found[:16]} now" if found else f"the ledger ends at {head}"
                self.findings.fault(
                    min(seq, head + 1),
                    f"record {seq} had hash {digest[:16]} when it was anchored, {has}: the ledger was cut or "
                    "rewritten",
                )
        self.checked.append(Checked("anchors", what, len(self.anchors)))

    def _view(self, mlflow: bool | None) -> Any:
        """The comparison with MLflow, when there is something to compare with."""
        what = "runs and steps that MLflow shows, against the ledger"
        if mlflow is False:
            self.checked.append(Checked("mlflow", what, 0, "not asked for"))
            return None
        from ..mirror.check import MlflowCheck

        try:
            check = MlflowCheck.open(self.workspace)
        except BackendError as error:
            if mlflow:
                raise
            self.findings.note(0, f"not compared with MLflow: {error}")
            self.checked.append(Checked("mlflow", what, 0, "MLflow does not answer"))
            return None
        if check is None:
            self.checked.append(Checked("mlflow", what, 0, "nothing was mirrored yet"))
        return check

    def _held_runs(self) -> list[str]:

        return [run for run in self.rules.unfinished if self.workspace.is_held(run)]

    def _note_torn_tails(self, seq: int) -> None:
        for path in sorted(Ledger.of(self.workspace).folder.glob("*.torn-*")):
            self.findings.note(0, f"a write that a crash cut short lies in {path.name}: it never counted")
        segments = Ledger.of(self.workspace).segments()
        if segments and (tail := segments[-1].read_bytes()[-1:]) and tail != b"\n":
            self.findings.note(seq, "the last line is not finished: being written, or cut by a crash")


def _parse_anchor(text: str) -> tuple[int, str]:
    seq, _, digest = text.strip().partition(":")
    if not seq.isdigit() or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise AskError(f"'{text[:90]}' is no anchor: give number:hash as `opswright audit anchor` prints it.")
    return int(seq), digest
