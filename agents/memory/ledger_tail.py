"""The ledger from a place on, and whether what stands before that place is still what was read there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Self

from ...core.errors import IntegrityError
from ...record.ledger import Ledger, Record, parse_line

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class LedgerPlace:
    """Behind the last record that was read: its number, and the byte of its segment where the next begins."""

    seq: int = 0
    segment: int = 0  # counted from 0
    offset: int = 0
    digest: str = hashlib.sha256().hexdigest()  # of every byte before

    @classmethod
    def of(cls, document: Any) -> Self | None:
        """As it was kept; None for what is no place."""
        try:
            return cls(
                int(document["seq"]),
                int(document["segment"]),
                int(document["offset"]),
                str(document["digest"]),
            )
        except (LookupError, TypeError, ValueError):
            return None

    def document(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)


def records_from(ledger: Ledger, place: LedgerPlace) -> Iterator[tuple[Record, int, int]]:
    """Each record behind a place, with its segment and the byte behind it; a line that is cut ends it.

    IntegrityError at a line that does not parse.
    """
    segments = ledger.segments()
    for number, path in enumerate(segments):
        if number < place.segment:
            continue
        offset = place.offset if number == place.segment else 0
        with path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n") and number == len(segments) - 1:
                    return
                where = f"{path.name} byte {offset}"
                if not line.endswith(b"\n"):
                    raise IntegrityError(f"the ledger is damaged at {where}: a line is cut.")
                record = parse_line(line, where)
                offset += len(line)
                yield record, number, offset


def place_behind(ledger: Ledger, seq: int, segment: int, offset: int) -> LedgerPlace:
    """The place behind a record, with the digest of every byte before."""
    return LedgerPlace(seq, segment, offset, _digest_before(ledger, segment, offset) or "")


def is_unchanged(ledger: Ledger, place: LedgerPlace) -> bool:
    """Whether every byte before a place is still what it was."""
    return _digest_before(ledger, place.segment, place.offset) == place.digest


def stamp_of(ledger: Ledger) -> tuple[tuple[str, int, int], ...]:
    """What changes whenever the ledger's files do."""
    stats = [(path.name, path.stat()) for path in ledger.segments()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _digest_before(ledger: Ledger, segment: int, offset: int) -> str | None:
    """SHA-256 of every byte before a place; None where the ledger is shorter."""
    digest, segments = hashlib.sha256(), ledger.segments()
    if segment >= len(segments):
        return digest.hexdigest() if segment == offset == 0 else None
    for number, path in enumerate(segments[: segment + 1]):
        left = path.stat().st_size if number < segment else offset
        with path.open("rb") as file:
            while left:
                chunk = file.read(min(left, _CHUNK_BYTES))
                if not chunk:
                    return None
                digest.update(chunk)
                left -= len(chunk)
    return digest.hexdigest()
