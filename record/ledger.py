"""The ledger: one append-only, hash-chained record of every action.

`ledger/*.jsonl` holds one canonical-JSON record a line, appended under a lock and flushed to disk before the
action it announces. What a chain proves and what it cannot is said in docs/guide/record.md.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from weakref import WeakKeyDictionary

from ..core.errors import IntegrityError
from ..core.files import PRIVATE, canonical_json, sha256_json, sync_folder, write_atomically
from ..core.principal import Principal
from .environment import environment_digest, environment_facts
from .records import Entry, Fault, Phase, Record, damage, parse_line, wrong_in

if TYPE_CHECKING:
    from ..core.workspace import Workspace

__all__ = ["GENESIS", "Entry", "Fault", "Ledger", "Phase", "Record", "parse_line"]

GENESIS = "0" * 64
_SEGMENTS = "[0-9][0-9][0-9][0-9][0-9][0-9].jsonl"
_SEGMENT_BYTES = 64 << 20
_TAIL_BYTES = 1 << 16
_SCAN_BYTES = 1 << 16  # a search by number narrows down to this, then reads on line by line


_OPEN: WeakKeyDictionary[Workspace, Ledger] = WeakKeyDictionary()


class Ledger:
    """The record of one workspace. Any number of processes may append."""

    def __init__(self, folder: Path, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self.folder = folder
        self.segment_bytes = segment_bytes
        self._head: tuple[Path, int, int, str] | None = None  # segment, its size, last seq, last hash
        self._kept: set[tuple[str, str]] = set()

    @classmethod
    def of(cls, workspace: Workspace) -> Ledger:
        """The ledger of a workspace, one object for each workspace object: it remembers where the end is."""
        found = _OPEN.get(workspace)
        if found is None:
            found = _OPEN[workspace] = cls(workspace.root / "ledger")
        return found

    def append(self, phase: Phase, *, principal: Principal, **fields: Any) -> Record:
        """Add a record (see `Entry`) and return it once it is on the disk.

        IntegrityError when the last line is damaged.
        """
        return self.append_all([Entry(phase, **fields)], principal)[0]

    def append_all(
        self, entries: Sequence[Entry], principal: Principal, guard: Callable[[], None] = lambda: None
    ) -> list[Record]:
        """Add records with one write and one flush; a crash in between keeps a beginning of them.

        `guard` is called while nobody else can append; what it raises keeps the records out.
        """
        self._make_folder()
        with self._locked():
            guard()
            self.keep("environments", environment_digest(), canonical_json(environment_facts()))
            segment, size, seq, prev = self._find_head()
            records, lines = list[Record](), list[bytes]()
            for entry in entries:
                body = entry.body(seq + 1, prev, principal)
                digest = sha256_json(body)
                lines.append(canonical_json({**body, "hash": digest}) + b"\n")
                records.append(Record(**body, hash=digest))
                seq, prev = seq + 1, digest
            data = b"".join(lines)
            _append_lines(segment, size, data)
            if size == 0:  # a new file: make its name last too
                sync_folder(self.folder)
                sync_folder(self.folder.parent)
            self._head = (segment, size + len(data), seq, prev)
            return records

    def records(self, after: int = 0) -> Iterator[Record]:
        """Every record numbered above `after`, in order; IntegrityError at a line that does not parse."""
        segments = self._segments_beyond(after)
        for segment in segments:
            with segment.open("rb") as file:
                offset = _offset_of(file, after)
                file.seek(offset)
                for line in file:
                    where = f"{segment.name} byte {offset}"
                    if not line.endswith(b"\n") and segment == segments[-1]:
                        return  # being written, or cut by a crash: the next append sets it aside
                    if not line.endswith(b"\n"):
                        raise damage(where, "the line is cut")
                    record = parse_line(line, where)
                    offset += len(line)
                    if record.seq > after:
                        yield record

    def get(self, seq: int) -> Record | None:
        """The record of that number."""
        record = next(self.records(after=seq - 1), None) if seq > 0 else None
        return record if record is not None and record.seq == seq else None

    def head(self) -> tuple[int, str]:
        """Number and hash of the last record; (0, 64 zeros) when there is none.

        Where nothing may be written, of the last whole line: one that a crash cut stays where it is.
        """
        if not self.folder.exists():
            return 0, GENESIS
        try:
            with self._locked():
                _, _, seq, digest = self._find_head()
                return seq, digest
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            return self._head_seen()

    def keep(self, kind: str, digest: str, data: bytes) -> None:
        """Keep what records name by its SHA-256 beside the ledger, in `<kind>/<digest>.json`, once."""
        if (kind, digest) not in self._kept:
            if self.kept(kind, digest) is None:
                self._make_folder()
                write_atomically(self.folder / kind / f"{digest}.json", data, PRIVATE)
            self._kept.add((kind, digest))

    def kept(self, kind: str, digest: str) -> dict[str, Any] | None:
        """What a digest stands for; None when it is not there as it was kept."""
        try:
            data = (self.folder / kind / f"{digest}.json").read_bytes()
        except OSError:
            return None
        found: dict[str, Any] | None = (
            json.loads(data) if hashlib.sha256(data).hexdigest() == digest else None
        )
        return found

    def environment(self, digest: str) -> dict[str, str] | None:
        """The versions that an environment digest stands for; None when they are not there as kept."""
        return self.kept("environments", digest)

    @property
    def own_end(self) -> tuple[str, int] | None:
        """Where this object's last append ended, as `end` tells it; None when it appended nothing."""
        return None if self._head is None else (self._head[0].name, self._head[1])

    def end(self) -> tuple[str, int]:
        """Where the last file ends: its name and bytes. It changes with every append."""
        segments = self.segments()
        return (segments[-1].name, segments[-1].stat().st_size) if segments else ("", 0)

    def segments(self) -> list[Path]:
        """The ledger's files, oldest first."""
        return sorted(self.folder.glob(_SEGMENTS))

    def verify(self) -> list[Fault]:
        """What is wrong with numbers, chain and hashes, the first fault; empty when nothing is."""
        return [item for item in self.walk() if isinstance(item, Fault)]

    def walk(self) -> Iterator[Record | Fault]:
        """Every record, each checked against its number, the one before it and its own hash.

        Ends with a Fault at the first that is wrong: nothing behind it can be trusted. Only what follows from
        the lines themselves: a cut tail or a full rewrite shows when the head is compared with one kept
        elsewhere (`record.audit`).
        """
        seq, prev = 0, GENESIS
        segments = self.segments()
        for segment in segments:
            with segment.open("rb") as file:
                for number, line in enumerate(file, 1):
                    where = f"{segment.name} line {number}"
                    if not line.endswith(b"\n") and segment == segments[-1]:
                        break
                    found = _checked(line, where, seq + 1, prev)
                    yield found
                    if isinstance(found, Fault):
                        return
                    seq, prev = found.seq, found.hash

    def _segments_beyond(self, after: int) -> list[Path]:
        """The files that may hold records numbered above `after`."""
        segments = self.segments()
        while after > 0 and len(segments) > 1:
            with segments[1].open("rb") as file:
                first = file.readline()
            if not first.endswith(b"\n") or parse_line(first, f"{segments[1].name} line 1").seq > after + 1:
                break
            del segments[0]
        return segments

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _head_seen(self) -> tuple[int, str]:
        """The head as one sees it who may only read."""
        for segment in reversed(self.segments()):
            data = segment.read_bytes()
            whole = data[: data.rfind(b"\n") + 1].rstrip(b"\n")
            if whole:
                record = parse_line(whole[whole.rfind(b"\n") + 1 :], f"the last line of {segment.name}")
                return record.seq, record.hash
        return 0, GENESIS

    @contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl

        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # closing gives the lock back

    def _find_head(self) -> tuple[Path, int, int, str]:
        segments = self.segments()
        if not segments:
            return self.folder / "000001.jsonl", 0, 0, GENESIS
        last = segments[-1]
        size = last.stat().st_size
        if self._head is not None and self._head[0] == last and self._head[1] == size:
            head = self._head
        else:
            head = self._read_head(segments)
        if head[1] > self.segment_bytes:
            return self.folder / f"{int(last.stem) + 1:06d}.jsonl", 0, head[2], head[3]
        return head

    def _read_head(self, segments: list[Path]) -> tuple[Path, int, int, str]:
        last = segments[-1]
        _set_torn_tail_aside(last)
        size = last.stat().st_size
        if size == 0:
            if len(segments) == 1:
                return last, 0, 0, GENESIS
            _, _, seq, digest = self._read_head(segments[:-1])
            return last, 0, seq, digest
        record = parse_line(_last_line(last, size), f"the last line of {last.name}")
        return last, size, record.seq, record.hash


def _checked(line: bytes, where: str, seq: int, prev: str) -> Record | Fault:
    """The record of a line that should have this number and follow this hash; else what is wrong with it."""
    if not line.endswith(b"\n"):
        return Fault(seq, f"record {seq} is cut ({where})")
    try:
        record = parse_line(line, where)
    except IntegrityError as error:
        return Fault(seq, str(error))
    message = wrong_in(record, line, seq, prev)
    return Fault(seq, f"{message} ({where})") if message else record


def _offset_of(file: BinaryIO, after: int) -> int:
    """Where a line starts that no record numbered above `after` lies before, found by halving."""
    low, high = 0, os.fstat(file.fileno()).st_size
    while after > 0 and high - low > _SCAN_BYTES:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        start = file.tell()
        line = file.readline() if start < high else b""
        try:
            beyond = not line.endswith(b"\n") or parse_line(line, "").seq > after
        except IntegrityError:
            break  # damaged: read on from here line by line, and meet it there
        if beyond:
            high = middle
        else:
            low = start
    return low


def _last_line(path: Path, size: int) -> bytes:
    """The last complete line of a file, read from its end."""
    with path.open("rb") as file:
        back = _TAIL_BYTES
        while True:
            file.seek(max(0, size - back))
            tail = file.read()
            lines = tail.rstrip(b"\n").split(b"\n")
            if len(lines) > 1 or back >= size:
                return lines[-1]
            back *= 4


def _set_torn_tail_aside(path: Path) -> None:
    """Move a last line without its newline (a crash in mid-write, never acknowledged) to a file beside."""
    size = path.stat().st_size
    if size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        keep = file.read().rfind(b"\n") + 1
        file.seek(keep)
        write_atomically(path.with_suffix(f".torn-{size}"), file.read(), PRIVATE)
        file.truncate(keep)
        os.fsync(file.fileno())


def _append_lines(path: Path, size: int, line: bytes) -> None:
    """Add lines to a file of that size and flush it; a full disk leaves the file as it was."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE)
    try:
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
