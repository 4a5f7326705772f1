"""An index of the ledger in memory: pages of records, newest first, without reading all of them each time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...core.errors import IntegrityError
from ..ledger import Fault, Ledger, Record, parse_line
from .listing import Criteria


class Entry(NamedTuple):
    """What a record is found by, and where it lies. A line that is no record has only its place."""

    seq: int
    time: str
    actor: str | None
    phase: str | None
    run: str | None
    step: str | None
    skill: str | None
    segment: int
    offset: int
    length: int


class RecordIndex:
    """The records of one ledger by run, person, skill, phase and time. Threads may share one.

    Only what was appended since the last look is read; a record itself is read from the disk when it is asked
    for. It proves nothing: `verify` does.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._segments: list[Path] = []
        self._sizes: list[int] = []  # bytes of each segment that are in the index
        self._entries: list[Entry] = []

    def refresh(self) -> int:
        """Take in what is new, or everything when a file is gone or shorter; gives the number of lines."""
        with self._lock:
            segments = self._ledger.segments()
            known = len(self._segments)
            sizes = [segment.stat().st_size for segment in segments]
            if segments[:known] != self._segments or any(
                now < seen for now, seen in zip(sizes, self._sizes, strict=False)
            ):
                self._sizes, self._entries = [], []
            self._segments = segments
            self._sizes += [0] * (len(segments) - len(self._sizes))
            for number, size in enumerate(sizes):
                if size > self._sizes[number]:
                    self._sizes[number] = self._take(number)
            return len(self._entries)

    def find(self, criteria: Criteria) -> Sequence[Entry]:
        """The records that meet the criteria, newest first; a line that is no record meets none."""
        entries = self._entries
        if not criteria.wanted and criteria.first is None and criteria.last is None:
            return entries[::-1]
        return [entry for entry in reversed(entries) if entry.phase and criteria.are_met_by(entry)]

    def read(self, entry: Entry) -> Record | Fault:
        """A record as it lies on the disk now; a Fault when the line is none."""
        try:
            with self._segments[entry.segment].open("rb") as file:
                file.seek(entry.offset)
                line = file.read(entry.length)
            return parse_line(line, f"{self._segments[entry.segment].name} byte {entry.offset}")
        except (IntegrityError, OSError) as error:
            return Fault(entry.seq, str(error))

    def at(self, seq: int) -> Entry | None:
        """The entry of a record by its number."""
        entries = self._entries
        if 0 < seq <= len(entries) and entries[seq - 1].seq == seq:
            return entries[seq - 1]
        return next((entry for entry in entries if entry.seq == seq), None)

    def values(self, name: str, most: int = 200) -> list[str]:
        """The values of a field, those of the newest records first."""
        seen: dict[str, None] = {}
        for entry in reversed(self._entries):
            if (value := getattr(entry, name)) is not None:
                seen[value] = None
                if len(seen) == most:
                    break
        return list(seen)

    def _take(self, number: int) -> int:
        """Read a segment from where it was left; gives how far it is whole lines."""
        segment, offset = self._segments[number], self._sizes[number]
        with segment.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # being written
                self._entries.append(self._entry(line, number, offset))
                offset += len(line)
        return offset

    def _entry(self, line: bytes, number: int, offset: int) -> Entry:
        try:
            record = parse_line(line, "")
        except IntegrityError:
            follows = self._entries[-1].seq + 1 if self._entries else 1
            return Entry(follows, "", None, None, None, None, None, number, offset, len(line))
        return Entry(
            record.seq,
            record.time,
            _shared(record.actor),
            _shared(record.phase),
            _shared(record.run),
            _shared(record.step),
            _shared(record.skill),
            number,
            offset,
            len(line),
        )


def _shared(value: object) -> str | None:
    """A text that many records have, kept once."""
    return sys.intern(value) if isinstance(value, str) else None
