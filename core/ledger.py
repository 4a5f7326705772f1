"""The ledger: one append-only, hash-chained record of every action.

`ledger/*.jsonl` holds one canonical-JSON record a line, appended under a lock and flushed to disk before the
action it announces. What a chain proves and what it cannot is said in docs/guide/record.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from .errors import IntegrityError
from .files import canonical_json, sha256_json, sync_folder

GENESIS = "0" * 64
_SEGMENT_BYTES = 64 << 20
_TAIL_BYTES = 1 << 16


class Phase(StrEnum):
    """What a record says happened."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    DENIED = "denied"
    INTENT = "intent"
    DONE = "done"
    FAILED = "failed"
    REUSED = "reused"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True)
class Record:
    """One line of the ledger. `request` and `result` are digests; their text is in `detail`."""

    seq: int
    time: str
    actor: str
    role: str
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

    def unsigned(self) -> dict[str, Any]:
        """The record as the dictionary its hash is taken of."""
        body = asdict(self)
        del body["hash"]
        return body


@dataclass(frozen=True)
class Fault:
    """One thing wrong with the ledger: the record's number (0: none), and what was found."""

    seq: int
    says: str


@cache
def environment_digest() -> str:
    """SHA-256 over the interpreter, platform and the versions of the packages that decide results."""
    return sha256_json(environment_facts())


@cache
def environment_facts() -> dict[str, str]:
    """The versions a result may depend on, by name; absent packages are left out."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    facts = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for name in (
        "opswright",
        "torch",
        "transformers",
        "nemo-automodel",
        "onnxruntime-genai",
        "nemoguardrails",
    ):
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            continue
    return facts


class Ledger:
    """The record of one workspace. Any number of processes may append."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._head: tuple[Path, int, int, str] | None = None  # segment, its size, last seq, last hash

    def append(
        self,
        phase: Phase,
        *,
        actor: str,
        role: str,
        run: str | None = None,
        step: str | None = None,
        skill: str | None = None,
        effect: str | None = None,
        plan: str | None = None,
        request: Mapping[str, Any] | None = None,
        result: Mapping[str, Any] | None = None,
        artifacts: Mapping[str, str] | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> Record:
        """Add a record and return it once it is on the disk; IntegrityError when the last line is damaged."""
        with self._locked():
            segment, size, seq, prev = self._find_head()
            body: dict[str, Any] = {
                "seq": seq + 1,
                "time": datetime.now(UTC).isoformat(timespec="microseconds"),
                "actor": actor,
                "role": role,
                "phase": str(phase),
                "run": run,
                "step": step,
                "skill": skill,
                "effect": effect,
                "plan": plan,
                "request": None if request is None else sha256_json(request),
                "result": None if result is None else sha256_json(result),
                "artifacts": dict(artifacts or {}),
                "environment": environment_digest(),
                "detail": {
                    **(detail or {}),
                    **({} if request is None else {"request": dict(request)}),
                    **({} if result is None else {"result": dict(result)}),
                },
                "prev": prev,
            }
            digest = sha256_json(body)
            line = canonical_json({**body, "hash": digest}) + b"\n"
            new = size == 0
            descriptor = os.open(segment, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                _write_all(descriptor, line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if new:
                sync_folder(self.folder)
            self._head = (segment, size + len(line), seq + 1, digest)
            return Record(**body, hash=digest)

    def records(self, after: int = 0) -> Iterator[Record]:
        """Every record with a number above `after`, in order; IntegrityError at a line that does not parse."""
        for segment in self.segments():
            with segment.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        return  # being written, or cut by a crash: the next append sets it aside
                    record = _parse(line, f"{segment.name} line {number}")
                    if record.seq > after:
                        yield record

    def get(self, seq: int) -> Record | None:
        """The record of that number."""
        return next((r for r in self.records(after=seq - 1) if r.seq == seq), None)

    def head(self) -> tuple[int, str]:
        """Number and hash of the last record; (0, 64 zeros) when there is none."""
        with self._locked():
            _, _, seq, digest = self._find_head()
            return seq, digest

    def segments(self) -> list[Path]:
        """The ledger's files, oldest first."""
        return sorted(self.folder.glob("*.jsonl"))

    def verify(self) -> list[Fault]:
        """What is wrong with numbers, chain and hashes, first fault first; empty when nothing is.

        Only what follows from the lines themselves: a cut tail or a full rewrite is found by comparing the
        head with one stored elsewhere (`core.audit`).
        """
        seq, prev = 0, GENESIS
        for segment in self.segments():
            with segment.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        break
                    try:
                        record = _parse(line, f"{segment.name} line {number}")
                    except IntegrityError as error:
                        return [Fault(seq + 1, str(error))]
                    if record.seq != seq + 1:
                        return [
                            Fault(
                                seq + 1, f"record {seq + 1} is missing or out of order (found {record.seq})"
                            )
                        ]
                    if record.prev != prev:
                        return [Fault(record.seq, f"record {record.seq} does not follow the one before it")]
                    if sha256_json(record.unsigned()) != record.hash:
                        return [
                            Fault(record.seq, f"record {record.seq} was altered: its hash does not match")
                        ]
                    seq, prev = record.seq, record.hash
        return []

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
        if head[1] > _SEGMENT_BYTES:
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
        record = _parse(_last_line(last, size), f"the last line of {last.name}")
        return last, size, record.seq, record.hash


def _parse(line: bytes, where: str) -> Record:
    try:
        return Record(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise IntegrityError(
            f"the ledger is damaged at {where}: {error}. Nothing was changed; see `opswright audit verify`."
        ) from error


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
    data_end = path.stat().st_size
    with path.open("rb+") as file:
        if data_end == 0:
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
        back = data_end
        file.seek(0)
        keep = file.read().rfind(b"\n") + 1
        file.seek(keep)
        torn = file.read()
        path.with_suffix(f".torn-{back}").write_bytes(torn)
        file.truncate(keep)
        os.fsync(file.fileno())


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
