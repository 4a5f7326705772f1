"""What an audit found, and what it did and did not look at."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class AuditFinding:
    """One thing an audit says: the record it is about (0: none), by which check, and what to do about it."""

    seq: int
    message: str
    check: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Checked:
    """One thing the audit looks at: how many of `what`, or why it did not."""

    name: str
    what: str
    count: int = 0
    not_done: str = ""


@dataclass(frozen=True)
class AuditReport:
    """The result: `faults` in the order of their records; `notes` are what a reader should know besides."""

    records: int
    head_seq: int
    head_hash: str
    faults: tuple[AuditFinding, ...]
    notes: tuple[AuditFinding, ...]
    checked: tuple[Checked, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing that was looked at is wrong."""
        return not self.faults

    @property
    def first_bad(self) -> int | None:
        """The number of the first record that is wrong, None when no fault is about a record."""
        return next((fault.seq for fault in self.faults if fault.seq), None)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"ok": self.ok, "first_bad": self.first_bad, **asdict(self)}


@dataclass
class FaultCollector:
    """Faults and notes of one check while they are gathered, each said once."""

    check: str = ""
    remedy: str = ""
    faults: list[AuditFinding] = field(default_factory=list)
    notes: list[AuditFinding] = field(default_factory=list)
    _said: set[tuple[int, str]] = field(default_factory=set)

    def fault(self, seq: int, message: str) -> None:
        """Something is wrong at a record (0: with none in particular)."""
        if (seq, message) not in self._said:
            self._said.add((seq, message))
            self.faults.append(AuditFinding(seq, message, self.check, self.remedy))

    def note(self, seq: int, message: str) -> None:
        """Something a reader should know."""
        if (seq, message) not in self._said:
            self._said.add((seq, message))
            self.notes.append(AuditFinding(seq, message, self.check))
