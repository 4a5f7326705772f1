"""The traffic log: one JSON line for each request, in segments of an endpoint's folder.

A line is handed to the system before its answer leaves, and flushed to disk once a second. So a gateway that
is killed loses no line of an answered request; a machine that loses power loses at most the last second. A
line that cannot be written (full disk) does not fail the answer: it is counted, and said in metrics.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from ...core.workspace import Workspace

_SEGMENT_BYTES = 32 << 20
_BLOCK_BYTES = 1 << 16

Route = Literal["stable", "canary"]
Status = Literal["ok", "blocked", "error"]
CALLERS_FAULTS = frozenset({"error: AskError", "error: PromptError"})  # finishes of requests that were wrong
CANCELLED = "cancelled"


@dataclass(frozen=True)
class TrafficRow:
    """One request as it was answered; `finish` is the finish reason, or the error's family.

    canary_percent: the canary's share when the request was routed, 0 without one; session: a digest of the
    key by which it was, empty for a request that stands for itself.
    """

    time: str
    id: str
    release: str
    route: Route
    text: str
    output: str
    status: Status
    rail: str | None
    latency_ms: float
    model_version: int
    finish: str = ""
    canary_percent: int = 0
    session: str = ""

    @property
    def is_judged(self) -> bool:
        """Whether it says something of its release: it was no wrong request, and its caller waited."""
        return self.finish not in CALLERS_FAULTS and self.finish != CANCELLED


class TrafficLog:
    """The log of one endpoint, written by one gateway."""

    def __init__(self, folder: Path, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self.folder = folder
        self.lost = 0  # lines that could not be written
        self._segment_bytes = segment_bytes
        self._file: int | None = None
        self._size = 0
        self._unsynced = False

    def append(self, row: TrafficRow) -> bool:
        """Write one row; False when it was lost."""
        line = json.dumps(vars(row), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            file = self._open(len(line))
            written = os.write(file, line)
            if written < len(line):
                raise OSError(f"only {written} of {len(line)} bytes fit")
        except OSError:
            self.lost += 1
            self._close()  # opening it again ends a line that was cut
            return False
        self._size += written
        self._unsynced = True
        return True

    def sync(self) -> None:
        """Flush to disk what was written since the last time."""
        if self._file is not None and self._unsynced:
            self._unsynced = False
            os.fsync(self._file)

    def close(self) -> None:
        """Put what was written on disk and close the segment; a later row opens it again."""
        self.sync()
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self, more: int) -> int:
        if self._file is not None and self._size + more <= self._segment_bytes:
            return self._file
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        found = segments(self.folder)
        number = int(found[-1].stem.partition("-")[2]) if found else 1
        if found and found[-1].stat().st_size + more > self._segment_bytes:
            number += 1
        path = self.folder / f"traffic-{number:06d}.jsonl"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._file).st_size
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            self._size += os.write(self._file, b"\n")  # readers skip a line that was cut
        return self._file


class TrafficTail:
    """The requests of an endpoint that were answered after a time, as they come."""

    def __init__(self, workspace: Workspace, endpoint: str, after: str) -> None:
        self._folder = workspace.endpoints / endpoint
        self._after = after
        self._read: dict[Path, int] = {}  # segment to the bytes of it that were read
        self._is_old: set[Path] = set()

    def rows(self) -> Iterator[TrafficRow]:
        """Those that came since the last call, in the order of the log; a line being written comes later."""
        for path in self._segments():
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read[path] = self._read.get(path, 0) + len(line)
                    row = _parsed(line)
                    if row is not None and row.time > self._after:
                        yield row

    def _segments(self) -> list[Path]:
        """The segments that may hold such rows; one that ends before them is never read again."""
        found = segments(self._folder)
        for path, following in pairwise(found):
            if path in self._is_old or path in self._read:
                continue
            with following.open("rb") as file:
                first = _parsed(file.readline())
            if first is not None and first.time <= self._after:
                self._is_old.add(path)
        return [path for path in found if path not in self._is_old]


def read(
    workspace: Workspace,
    endpoint: str,
    last: int | None = None,
    after: str | None = None,
    before: str | None = None,
) -> list[TrafficRow]:
    """The requests of an endpoint in the order they were answered.

    `last`: at most that many, the newest; `after`: only those answered later than this UTC time, in ISO 8601;
    `before`: at that time or earlier. A line that was cut by a crash, or is being written, is left out.
    AskError for what is no time.
    """
    start, end = as_logged(after), as_logged(before)
    rows: list[TrafficRow] = []
    for row in _rows_newest_first(workspace.endpoints / endpoint):
        if last is not None and len(rows) >= last:
            break
        if start is not None and row.time <= start:
            break
        if end is None or row.time <= end:
            rows.append(row)
    return rows[::-1]


def _rows_newest_first(folder: Path) -> Iterator[TrafficRow]:
    for line in _newest_first(folder):
        if (row := _parsed(line)) is not None:
            yield row


def _parsed(line: bytes) -> TrafficRow | None:
    try:
        return TrafficRow(**json.loads(line))
    except (ValueError, TypeError):
        return None


def last_before(workspace: Workspace, endpoint: str, time: str) -> TrafficRow | None:
    """The newest request answered at that UTC time or before it, ISO 8601; None when there was none."""
    end = as_logged(time) or ""
    for row in _rows_newest_first(workspace.endpoints / endpoint):
        if row.time <= end:
            return row
    return None


def as_logged(text: str | None) -> str | None:
    """A time as the log writes it, so that texts compare as times; AskError when it is none."""
    from datetime import UTC, datetime

    from ...core.errors import AskError

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise AskError(
            f"invalid time '{text[:40]}': expected ISO 8601, like 2026-01-31T08:00:00Z."
        ) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def segments(folder: Path) -> list[Path]:
    """The files of a log, oldest first."""
    return sorted(folder.glob("traffic-*.jsonl"))


def _newest_first(folder: Path) -> Iterator[bytes]:
    """The lines of all segments, from the end, reading no more than is asked for."""
    for path in reversed(segments(folder)):
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            rest = b""
            while end > 0:
                size = min(_BLOCK_BYTES, end)
                end -= size
                file.seek(end)
                rest, *lines = (file.read(size) + rest).split(b"\n")
                yield from reversed(lines)
            yield rest
