"""The ledger: one append-only, hash-chained record of every action.

`ledger/*.jsonl` holds one canonical-JSON record a line, appended under a lock and flushed to disk before the
action it announces. What a chain proves and what it cannot is said in docs/guide/record.md.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from weakref import WeakKeyDictionary

from ..core.errors import IntegrityError
from ..core.files import canonical_json, sha256_json, sync_folder, write_atomically
from ..core.principal import Principal
from .environment import environment_digest, environment_facts

if TYPE_CHECKING:
    from ..core.workspace import Workspace

GENESIS = "0" * 64
_SEGMENTS = "[0-9][0-9][0-9][0-9][0-9][0-9].jsonl"
_SEGMENT_BYTES = 64 << 20
_TAIL_BYTES = 1 << 16
_SCAN_BYTES = 1 << 16  # a search by number narrows down to this, then reads on line by line


class Phase(StrEnum):
    """What a record says happened."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    DENIED = "denied"
    RESERVED = "reserved"
    INTENT = "intent"
    SUBMITTED = "submitted"
    DONE = "done"
    FAILED = "failed"
    REUSED = "reused"
    SETTLED = "settled"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True)
class Record:
    """One line of the ledger. `request` and `result` are digests; their text is in `detail`."""

    seq: int
    time: str
    actor: str
    roles: list[str]
    authenticated_by: str
    phase: str
    run: str | None
    step: str | None
    skill: str | None
    effect: str | None
    plan: str | None
    request: str | None
    result: str | None
    artifacts: Mapping[str, str]
    environment: str
    detail: Mapping[str, Any]
    prev: str
    hash: str

    @property
    def principal(self) -> Principal:
        """Who acted."""
        return Principal(self.actor, tuple(self.roles), self.authenticated_by)

    @property
    def role(self) -> str:
        """The roles of who acted, as people read them."""
        return ", ".join(self.roles)

    def unsigned(self) -> dict[str, Any]:
        """The record as the dictionary its hash is taken of."""
        body = asdict(self)
        del body["hash"]
        return body


@dataclass(frozen=True)
class Entry:
    """What is to be recorded; number, time, principal, environment and hashes are added when it is appended.

    `request` and `result` are recorded whole in `detail`, and by their digests.
    """

    phase: Phase
    run: str | None = None
    step: str | None = None
    skill: str | None = None
    effect: str | None = None
    plan: str | None = None
    request: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    artifacts: Mapping[str, str] | None = None
    detail: Mapping[str, Any] | None = None

    def body(self, seq: int, prev: str, principal: Principal) -> dict[str, Any]:
        """The record without its hash."""
        return {
            "seq": seq,
            "time": datetime.now(UTC).isoformat(timespec="microseconds"),
            **principal.fields(),
            "phase": str(self.phase),
            "run": self.run,
            "step": self.step,
            "skill": self.skill,
            "effect": self.effect,
            "plan": self.plan,
            "request": None if self.request is None else sha256_json(self.request),
            "result": None if self.result is None else sha256_json(self.result),
            "artifacts": dict(self.artifacts or {}),
            "environment": environment_digest(),
            "detail": {
                **(self.detail or {}),
                **({} if self.request is None else {"request": dict(self.request)}),
                **({} if self.result is None else {"result": dict(self.result)}),
            },
            "prev": prev,
        }


@dataclass(frozen=True)
class Fault:
    """One thing wrong with the ledger: the record's number (0: none), and what was found."""

    seq: int
    message: str


_OPEN: WeakKeyDictionary[Workspace, Ledger] = WeakKeyDictionary()


class Ledger:
    """The record of one workspace. Any number of processes may append."""

    def __init__(self, folder: Path, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self.folder = folder
        self.segment_bytes = segment_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._head: tuple[Path, int, int, str] | None = None  # segment, its size, last seq, last hash
        self._environment_is_kept = False

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

    def append_all(self, entries: Sequence[Entry], principal: Principal) -> list[Record]:
        """Add records with one write and one flush; a crash in between keeps a beginning of them."""
        with self._locked():
            self._keep_environment()
            segment, size, seq, prev = self._find_head()
            records, lines = [], b""
            for entry in entries:
                body = entry.body(seq + 1, prev, principal)
                digest = sha256_json(body)
                lines += canonical_json({**body, "hash": digest}) + b"\n"
                records.append(Record(**body, hash=digest))
                seq, prev = seq + 1, digest
            _append_lines(segment, size, lines)
            if size == 0:  # a new file: make its name last too
                sync_folder(self.folder)
                sync_folder(self.folder.parent)
            self._head = (segment, size + len(lines), seq, prev)
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
                    if not line.endswith(b"\n"):
                        if segment == segments[-1]:
                            return  # being written, or cut by a crash: the next append sets it aside
                        raise _damage(where, "the line is cut")
                    record = parse_line(line, where)
                    offset += len(line)
                    if record.seq > after:
                        yield record

    def get(self, seq: int) -> Record | None:
        """The record of that number."""
        record = next(self.records(after=seq - 1), None) if seq > 0 else None
        return record if record is not None and record.seq == seq else None

    def head(self) -> tuple[int, str]:
        """Number and hash of the last record; (0, 64 zeros) when there is none."""
        with self._locked():
            _, _, seq, digest = self._find_head()
            return seq, digest

    def environment(self, digest: str) -> dict[str, str] | None:
        """The versions that an environment digest stands for; None when they are not there as kept."""
        try:
            data = (self.folder / "environments" / f"{digest}.json").read_bytes()
        except OSError:
            return None
        facts: dict[str, str] | None = (
            json.loads(data) if hashlib.sha256(data).hexdigest() == digest else None
        )
        return facts

    def _keep_environment(self) -> None:
        """Keep the versions beside the ledger, once for each digest."""
        if not self._environment_is_kept:
            path = self.folder / "environments" / f"{environment_digest()}.json"
            if not path.exists():
                write_atomically(path, canonical_json(environment_facts()))
            self._environment_is_kept = True

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
                    if not line.endswith(b"\n"):
                        if segment != segments[-1]:
                            yield Fault(seq + 1, f"record {seq + 1} is cut ({where})")
                            return
                        break
                    try:
                        record = parse_line(line, where)
                    except IntegrityError as error:
                        yield Fault(seq + 1, str(error))
                        return
                    if message := _wrong(record, line, seq + 1, prev):
                        yield Fault(seq + 1, f"{message} ({where})")
                        return
                    seq, prev = record.seq, record.hash
                    yield record

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

    @contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl

        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
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


def parse_line(line: bytes, where: str) -> Record:
    """The record that a line holds; IntegrityError, naming where it is, when it holds none."""
    try:
        record = Record(**json.loads(line.decode()))
    except TypeError as error:
        if b'"role":' in line and b'"roles":' not in line:
            raise IntegrityError(
                f"the ledger was written by an older Opswright (at {where}): this one does not read it. "
                "Keep the workspace as it is and start a new one (`--home FOLDER`)."
            ) from error
        raise _damage(where, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _damage(where, str(error)) from error
    digests = _is_digest(record.prev) and _is_digest(record.hash)
    mappings = isinstance(record.artifacts, dict) and isinstance(record.detail, dict)
    named = isinstance(record.actor, str) and isinstance(record.roles, list)
    if not (type(record.seq) is int and isinstance(record.time, str) and digests and mappings and named):
        raise _damage(where, "a field has the wrong type")
    return record


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and value.isascii()


def _damage(where: str, message: str) -> IntegrityError:
    return IntegrityError(
        f"the ledger is damaged at {where}: {message}. Nothing was changed; see `opswright audit verify`."
    )


def _wrong(record: Record, line: bytes, seq: int, prev: str) -> str | None:
    """What is wrong with a record that should have this number and follow this hash.

    The hash is taken of the line's own bytes without its hash, so not even a doubled key or a space hides.
    """
    if record.seq != seq:
        return f"record {seq} is missing or out of order (found {record.seq})"
    if record.prev != prev:
        return f"record {seq} does not follow the one before it"
    unsigned = line[:-1].replace(b'"hash":"%s",' % record.hash.encode(), b"", 1)
    if hashlib.sha256(unsigned).hexdigest() != record.hash:
        return f"record {seq} was altered: its hash does not match"
    return None


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
        path.with_suffix(f".torn-{size}").write_bytes(file.read())
        file.truncate(keep)
        os.fsync(file.fileno())


def _append_lines(path: Path, size: int, line: bytes) -> None:
    """Add lines to a file of that size and flush it; a full disk leaves the file as it was."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
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
