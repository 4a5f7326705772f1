"""Checks of what the records name and what stands beside the ledger, asked once the ledger was walked.

Each takes the evidence and a collector for what it finds, and gives how many things it looked at, or why it
did not look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...core.artifact_refs import parse_ref
from ...core.artifacts import ArtifactStore
from ...core.errors import AskError, IntegrityError, OpswrightError
from ...core.files import sha256_json
from ...core.workspace import Workspace
from ..endpoint_history import EndpointHistory
from ..ledger import GENESIS, Fault, Ledger, Record
from ..mirror.remembered import RememberedView, read_views, view_key
from ..run_state import RunState
from .moment import History
from .phases import DONE
from .report import FaultCollector
from .served import compare_endpoint
from .signature import SignedHead

Looked = int | str


class View(Protocol):
    """What MLflow shows, read before the walk and compared with each record as it went by."""

    def take(self, record: Record, run: RunState) -> None:
        """The ledger's next record, and its run with it applied."""

    def compare(self, say: FaultCollector, head: int) -> int:
        """Say where it differs from the ledger; gives how many pages it has."""


@dataclass
class Evidence:
    """What a walk over the ledger left to be held against everything else."""

    workspace: Workspace
    past: History
    anchors: tuple[tuple[int, str], ...] = ()
    signatures: tuple[SignedHead, ...] = ()
    view: View | None = None
    reads_artifacts: bool = True
    skipped: Mapping[str, str] = field(default_factory=dict)  # check -> why it is not made
    receipts: dict[int, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)
    unread_receipts: list[str] = field(default_factory=list)
    receipt_faults: list[tuple[int, str]] = field(default_factory=list)
    wanted: set[int] = field(default_factory=set)  # numbers that something outside names
    hashes: dict[int, str] = field(default_factory=dict)  # those of `wanted` that the ledger has
    last: Record | None = None  # the last good record of the walk
    break_: Fault | None = None  # where the chain is broken

    @property
    def head(self) -> int:
        """The number of the last good record, 0 when there is none."""
        return self.last.seq if self.last is not None else 0

    @property
    def head_hash(self) -> str:
        """Its hash."""
        return self.last.hash if self.last is not None else GENESIS

    def take(self, record: Record) -> None:
        """The next record of the walk that something outside names."""
        self.hashes[record.seq] = record.hash
        for name, receipt in self.receipts.get(record.seq, ()):
            told = (receipt.get("hash"), sha256_json(receipt.get("result")), receipt.get("artifacts"))
            key = record.detail.get("key")
            if record.phase != DONE or told != (record.hash, record.result, record.artifacts):
                message = f"receipt {name[:16]} is not what record {record.seq} says was done"
                self.receipt_faults.append((record.seq, message))
            elif key is not None and name != key:
                message = f"receipt {name[:16]} stands for another call than record {record.seq}"
                self.receipt_faults.append((record.seq, message))


def chain(evidence: Evidence, say: FaultCollector) -> Looked:
    """Each record's number, its link to the one before, and its hash over the line's own bytes."""
    ledger = Ledger.of(evidence.workspace)
    if (found := evidence.break_) is not None:
        say.fault(found.seq, found.message)
        say.note(found.seq, "records from here on were not looked at: the chain is broken")
    for path in sorted(ledger.folder.glob("*.torn-*")):
        say.note(0, f"a write that a crash cut short lies in {path.name}: it never counted")
    segments = ledger.segments()
    if segments and (size := segments[-1].stat().st_size):
        with segments[-1].open("rb") as file:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                say.note(evidence.head, "the last line is not finished: being written, or cut by a crash")
    return evidence.head


def receipts(evidence: Evidence, say: FaultCollector) -> Looked:
    """A receipt is exactly what the record it names says was done."""
    for message in evidence.unread_receipts:
        say.fault(0, message)
    for seq, message in evidence.receipt_faults:
        say.fault(seq, message)
    for number, found in evidence.receipts.items():
        if number not in evidence.hashes and evidence.break_ is None:
            for name, _ in found:
                message = f"receipt {name[:16]} is for record {number}; the ledger ends at {evidence.head}"
                say.fault(0, message)
    return sum(map(len, evidence.receipts.values())) + len(evidence.unread_receipts)


def environments(evidence: Evidence, say: FaultCollector) -> Looked:
    """The package versions behind each record's environment digest are kept."""
    ledger = Ledger.of(evidence.workspace)
    for digest, seq in evidence.past.environments.items():
        if ledger.environment(digest) is None:
            say.note(seq, f"the versions behind environment {digest[:12]} are not kept, or not as they were")
            if (ledger.folder / "environments" / f"{digest}.json").is_file():
                say.fault(seq, f"the versions kept for environment {digest[:12]} were altered")
    return len(evidence.past.environments)


def artifacts(evidence: Evidence, say: FaultCollector) -> Looked:
    """Every artifact that a record names is there, every byte as recorded."""
    if not evidence.reads_artifacts:
        return "not asked for"
    store = ArtifactStore(evidence.workspace.artifacts.root)  # a new one: nothing counts as seen before
    for text, seq in evidence.past.named.items():
        try:
            store.open(parse_ref(text))
        except OpswrightError as error:
            say.fault(seq, f"record {seq} names {text.partition(':')[0]}: {error}")
    return len(evidence.past.named)


def anchors(evidence: Evidence, say: FaultCollector) -> Looked:
    """Heads kept outside the ledger are in it, with the same hash."""
    if not evidence.anchors:
        return "none was given"
    for seq, digest in evidence.anchors:
        _compare_head(evidence, say, seq, digest, "when it was anchored")
    return len(evidence.anchors)


def signatures(evidence: Evidence, say: FaultCollector) -> Looked:
    """Signed heads carry a signature of the key given, and the ledger still has them."""
    if not evidence.signatures:
        return "none was given"
    for signed in evidence.signatures:
        if signed.problem:
            say.fault(0, signed.problem)
            continue
        own = evidence.workspace.root / "workspace-id"
        if own.is_file() and own.read_text().strip() != signed.workspace:
            say.fault(
                0, f"{signed.name} was signed for workspace {signed.workspace[:12]}, this is another one"
            )
        _compare_head(evidence, say, signed.seq, signed.hash, f"when it was signed ({signed.time[:19]} UTC)")
    return len(evidence.signatures)


def _compare_head(evidence: Evidence, say: FaultCollector, seq: int, digest: str, when: str) -> None:
    found = evidence.hashes.get(seq)
    if seq and found != digest:
        has = f"it is {found[:16]} now" if found else f"the ledger ends at {evidence.head}"
        message = f"record {seq} had hash {digest[:16]} {when}, {has}: the ledger was cut or rewritten"
        say.fault(min(seq, evidence.head + 1), message)


def served(evidence: Evidence, say: FaultCollector) -> Looked:
    """What each endpoint should serve now is what the records of deploy, promote and rollback made of it."""
    folder = evidence.workspace.root / "endpoints"
    recorded = evidence.past.endpoints
    names = recorded.keys() | {path.parent.name for path in folder.glob("*/desired.json")}
    for name in sorted(names):
        history = recorded.get(name) or EndpointHistory()
        for is_fault, seq, message in compare_endpoint(name, folder / name / "desired.json", history):
            (say.fault if is_fault else say.note)(seq, message)
    return len(names)


def mirror(evidence: Evidence, say: FaultCollector) -> Looked:
    """The view in MLflow that the ledger and `mirror.json` say was set up is still the one there is."""
    recorded = [record.detail.get("view", {}) for record in evidence.past.views]
    try:
        views = read_views(evidence.workspace)
    except IntegrityError as error:
        say.fault(0, str(error))
        return 1
    if views is None:
        if recorded:
            seq = evidence.past.views[-1].seq
            message = "says that MLflow shows this ledger, but mirror.json, which says how far, is gone"
            say.fault(seq, f"record {seq} {message}")
        return len(recorded) or "nothing was mirrored yet"
    own = evidence.workspace.root / "workspace-id"
    own_id = own.read_text().strip() if own.is_file() else None
    for key, view in views.items():
        _compare_view(evidence, say, key, view, own_id)
        if {"key": key, **view.place} not in recorded and evidence.break_ is None:
            message = (
                f"mirror.json says that MLflow experiment '{view.experiment}' shows this ledger, no record "
            )
            say.fault(
                0, message + "says that it was set up: the ledger was cut or rewritten, or the file forged"
            )
    for record, detail in zip(evidence.past.views, recorded, strict=True):
        if detail.get("key") not in views:
            say.fault(record.seq, f"record {record.seq} says that a view was set up, mirror.json lacks it")
    seen: set[str] = set()
    for record, detail in zip(evidence.past.views, recorded, strict=True):
        if str(detail.get("key")) in seen:
            say.note(record.seq, "the view in MLflow was set up anew here: what it showed before was lost")
        seen.add(str(detail.get("key")))
    if view_key(evidence.workspace) not in views:
        say.note(0, "MLflow at the address of the settings never showed this ledger: not compared with it")
    return len(views)


def _compare_view(
    evidence: Evidence, say: FaultCollector, key: str, view: RememberedView, own_id: str | None
) -> None:
    """One remembered view against the workspace's id, the ledger and the database."""
    if own_id is None:
        say.fault(0, f"workspace-id is gone; MLflow shows this ledger as workspace {view.workspace[:12]}")
    elif own_id != view.workspace:
        message = (
            f"workspace-id is {own_id[:12]}, MLflow shows this ledger as workspace {view.workspace[:12]}"
        )
        say.fault(0, message)
    found = evidence.hashes.get(view.seq)
    if found is None and view.seq:  # the file may have moved on since the walk began, as the ledger has
        record = Ledger.of(evidence.workspace).get(view.seq) if evidence.break_ is None else None
        found = record.hash if record else None
    if view.seq and found != view.hash and evidence.break_ is None:
        has = f"hash {found[:16]}" if found else f"its end at record {evidence.head}"
        message = f"mirror.json says that MLflow was given record {view.seq} with hash {view.hash[:16]}, the "
        say.fault(min(view.seq, evidence.head + 1), f"{message}ledger has {has}: it was cut or rewritten")
    if key == view_key(evidence.workspace):
        path = evidence.workspace.root / "mlflow.db"
        uri = evidence.workspace.settings.tracking_uri()
        if uri == f"sqlite:///{path}" and not path.is_file():
            say.fault(0, f"{path.name} is gone, which showed this ledger up to record {view.seq}")


def mlflow(evidence: Evidence, say: FaultCollector) -> Looked:
    """Each run and step that MLflow shows is the ledger's, in every part, and none is missing."""
    if evidence.view is None:
        return "nothing was mirrored yet"
    return evidence.view.compare(say, evidence.head)


def parse_anchor(text: str) -> tuple[int, str]:
    """A head as `opswright audit anchor` prints it; AskError for anything else."""
    seq, _, digest = text.strip().partition(":")
    if not (seq.isascii() and seq.isdecimal()) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise AskError(
            f"invalid anchor '{text[:90]}': expected number:hash, as `opswright audit anchor` prints it."
        )
    if int(seq) == 0 and digest.strip("0"):
        raise AskError(
            f"invalid anchor '{text[:90]}': records are counted from 1, and the anchor of an empty ledger is "
            "0 and a hash of zeros. Give an anchor as `opswright audit anchor` printed it."
        )
    return int(seq), digest
