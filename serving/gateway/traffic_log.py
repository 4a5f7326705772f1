"""The traffic log: one JSON line for each request, in segments of an endpoint's folder.

A line is handed to the system before its answer leaves, and flushed to disk once a second. So a gateway that
is killed loses no line of an answered request; a machine that loses power loses at most the last second. A
line that cannot be written (full disk) does not fail the answer: it is counted, and said in metrics. Personal
data that a pattern can tell is masked before anything is written, unless a setting says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from ...core.workspace import Workspace
from . import segments as files
from .privacy import PLAIN, Privacy
from .segments import SEGMENT_BYTES, Retention, SegmentTail, SegmentWriter, json_line

_PREFIX = "traffic"

Route = Literal["stable", "canary"]
Status = Literal["ok", "blocked", "error", "cancelled"]
CALLERS_FAULTS = frozenset({"error: AskError", "error: PromptError"})  # finishes of requests that were wrong
CANCELLED = "cancelled"  # finish of a request whose caller left


@dataclass(frozen=True)
class TrafficRow:
    """One request as it was answered; `finish` is the finish reason, or the error's family.

    cancelled: the caller left before the answer's end. first_token_ms: None where nothing was streamed;
    queue_ms: until its engine was asked, None where none was. caller: whose key it was; empty where none is
    asked for.
    canary_percent: the canary's share when the request was routed, 0 without one; session: a digest of the
    key by which it was: the caller's session or user, else the request's id, which callers may choose too.
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
    tokens_in: int = 0
    tokens_out: int = 0
    first_token_ms: float | None = None
    queue_ms: float | None = None
    caller: str = ""
    canary_percent: int = 0
    session: str = ""


_ROW = TypeAdapter(TrafficRow)


class TrafficLog:
    """The log of one endpoint, as one worker of a gateway writes it."""

    def __init__(
        self,
        folder: Path,
        segment_bytes: int = SEGMENT_BYTES,
        privacy: Privacy = PLAIN,
        keep: Retention | None = None,
    ) -> None:
        self._segments = SegmentWriter(folder, _PREFIX, segment_bytes, keep)
        self._privacy = privacy

    @classmethod
    def of(cls, workspace: Workspace, endpoint: str) -> TrafficLog:
        """The log of an endpoint, as the settings want it."""
        settings = workspace.settings.serving.traffic
        return cls(workspace.endpoints / endpoint, privacy=Privacy.of(settings), keep=Retention.of(settings))

    @property
    def lost(self) -> int:
        """Lines that could not be written."""
        return self._segments.lost

    def append(self, row: TrafficRow) -> bool:
        """Write one row, masked; False when it was lost."""
        say = self._privacy
        row = replace(row, id=say.id(row.id), text=say.text(row.text), output=say.text(row.output))
        return self._segments.append(json_line(vars(row)), row.time)

    def shown_id(self, request_id: str) -> str:
        """A request's id as the log has it."""
        return self._privacy.id(request_id)

    def sync(self) -> None:
        """Flush to disk what was written since the last time; once a minute, remove what is too old."""
        self._segments.sync()

    def close(self) -> None:
        """Put what was written on disk and close the segment; a later row opens it again."""
        self._segments.close()


class TrafficTail:
    """The requests of an endpoint that were answered after a time, as they come."""

    def __init__(self, workspace: Workspace, endpoint: str, after: str) -> None:
        self._tail = SegmentTail(workspace.endpoints / endpoint, _PREFIX, after)
        self._after = after

    def rows(self) -> Iterator[TrafficRow]:
        """Those that came since the last call, in the order of the log."""
        for line in self._tail.lines():
            row = row_of(line)
            if row is not None and row.time > self._after:
                yield row


def read(
    workspace: Workspace,
    endpoint: str,
    last: int | None = None,
    after: str | None = None,
    before: str | None = None,
    *,
    pulled: bool = False,
) -> list[TrafficRow]:
    """The requests of an endpoint in the order they were answered; those of one moment in that of the log.

    `last`: at most that many, the newest; `after`: only those answered later than this UTC time, in ISO 8601;
    `before`: at that time or earlier; `pulled`: with those that other hosts answered and were brought here.
    A line that was cut by a crash, or is being written, is left out.
    AskError for what is no time.
    """
    start, end = as_logged(after), as_logged(before)
    first = None if start is None else files.earlier(start)
    rows: list[TrafficRow] = []
    for row in _rows_newest_first(workspace.endpoints / endpoint, pulled=pulled):
        if last is not None and len(rows) >= last:
            break
        if first is not None and row.time <= first:
            break
        if (end is None or row.time <= end) and (start is None or row.time > start):
            rows.append(row)
    return sorted(reversed(rows), key=lambda row: row.time)


def _rows_newest_first(folder: Path, *, pulled: bool = False) -> Iterator[TrafficRow]:
    for line in files.newest_first(folder, _PREFIX, pulled=pulled):
        if (row := row_of(line)) is not None:
            yield row


def row_of(line: bytes) -> TrafficRow | None:
    """The row of a line; None for one that is none: cut by a crash, or altered."""
    try:
        return _ROW.validate_json(line, strict=True)
    except ValueError:
        return None


def last_before(workspace: Workspace, endpoint: str, time: str) -> TrafficRow | None:
    """The newest request answered at that UTC time or before it, ISO 8601; None when there was none."""
    end = as_logged(time) or ""
    found: TrafficRow | None = None
    for row in _rows_newest_first(workspace.endpoints / endpoint):
        if found is not None and row.time <= files.earlier(found.time):
            break
        if row.time <= end and (found is None or row.time > found.time):
            found = row
    return found


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
    """The files of an endpoint's traffic log, oldest first."""
    return files.segments(folder, _PREFIX)
