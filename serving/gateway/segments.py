"""Append-only JSON lines in segments of a folder: written and read by any process, forgotten in time."""

from __future__ import annotations

import bisect
import itertools
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from ...core.settings.serving import TrafficSettings

SEGMENT_BYTES = 32 << 20
_BLOCK_BYTES = 1 << 16
_PRUNE_S = 60.0
_PULLED = "pulled"
_HEAD_BYTES = 1 << 16
_TIME = re.compile(rb'\{"time": ?"([0-9TZ:.+-]{10,40})"')
LATE_S = 15.0  # a line may stand so much behind later ones: several processes write, and any may be held up
_FEWEST_SEGMENTS = 8  # that a log of its full size has, so that forgetting one of them costs little


@dataclass(frozen=True)
class Retention:
    """How long lines are kept, and how many bytes of them."""

    days: float
    max_bytes: int

    @classmethod
    def of(cls, settings: TrafficSettings) -> Retention:
        """What the settings say."""
        return cls(settings.keep_days, round(settings.max_mb * 1_000_000))

    @property
    def segment_bytes(self) -> int:
        """How large one segment may grow."""
        return max(1, min(SEGMENT_BYTES, self.max_bytes // _FEWEST_SEGMENTS))


class SegmentWriter:
    """Writes the lines of one log, `PREFIX-NNNNNN.jsonl`: a new segment each UTC day, and when one is full.

    A line is a JSON object whose `time` is ISO 8601 in UTC. It is handed to the system, in one call, before
    `append` returns, and on disk after `sync`. Other processes may write the same log: each line goes to the
    end of the newest segment, and begins anew after one that was cut. Lines of one moment may change places.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str,
        segment_bytes: int = SEGMENT_BYTES,
        keep: Retention | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.prefix = prefix
        self.lost = 0  # lines that could not be written
        self._segment_bytes = segment_bytes if keep is None else min(segment_bytes, keep.segment_bytes)
        self._keep = keep
        self._clock = clock
        self._pruned_at = -_PRUNE_S
        self._lock = threading.Lock()  # lines are appended in one thread and forgotten in another
        self._path: Path | None = None
        self._file: int | None = None
        self._following = folder  # the path of the segment after the open one
        self._day = ""
        self._unsynced = False

    def append(self, line: bytes, at: str) -> bool:
        """Write one line, its end included, that is of a UTC time; False when it was lost."""
        with self._lock:
            try:
                file, is_cut = self._open(len(line), at[:10])
                data = b"\n" + line if is_cut else line  # readers skip a line that was cut
                written = os.write(file, data)
                if written < len(data):
                    raise OSError(f"only {written} of {len(data)} bytes fit")
            except OSError:
                self.lost += 1
                self._close()
                return False
            self._unsynced = True
            return True

    def sync(self) -> None:
        """Flush to disk what was written since the last time; once a minute, remove what is too old."""
        self._flush()
        if self._keep is not None and self._clock() >= self._pruned_at + _PRUNE_S:
            self._pruned_at = self._clock()
            self.prune(self._keep, datetime.now(UTC))

    def close(self) -> None:
        """Put what was written on disk and close the segment; a later line opens it again."""
        self._flush()
        self._close()

    def prune(self, keep: Retention, now: datetime) -> list[Path]:
        """Remove the segments that are too old, and the oldest of what is too much; those removed.

        The newest is never too much, but it may be too old.
        """
        oldest = now - timedelta(days=keep.days)
        paths = segments(self.folder, self.prefix)
        sizes = {path: _size(path) for path in paths}
        excess = sum(sizes.values()) - keep.max_bytes
        gone: list[Path] = []
        for path in paths:
            if excess > 0 and path != paths[-1]:
                excess -= sizes[path]
            elif _is_later(path, oldest):
                break
            with self._lock:
                if path == self._path:
                    self._close()
                path.unlink(missing_ok=True)
            gone.append(path)
        return gone

    def _flush(self) -> None:
        file = self._file
        if file is not None and self._unsynced:
            self._unsynced = False
            os.fsync(file)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._path = None

    def _open(self, more: int, day: str) -> tuple[int, bool]:
        """The newest segment, which has room and is of that day; whether its last line was cut."""
        file = self._file
        found = os.fstat(file) if file is not None and day == self._day else None
        if file is None or found is None or self._is_left(found, more):
            self.close()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._path = self._next_path(more, day)
            file = self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._following = _numbered(self.folder, self.prefix, number_of(self._path) + 1)
            self._day = day
            found = os.fstat(file)
        return file, _is_cut(file, found.st_size) and _is_cut(file, os.fstat(file).st_size)

    def _is_left(self, found: os.stat_result, more: int) -> bool:
        """Whether the open segment is full, was removed, or has one after it that another process began."""
        is_full = bool(found.st_size) and found.st_size + more > self._segment_bytes
        return is_full or not found.st_nlink or self._following.exists()

    def _next_path(self, more: int, day: str) -> Path:
        found = segments(self.folder, self.prefix)
        number = number_of(found[-1]) if found else 1
        if found and (size := found[-1].stat().st_size):
            first = first_time(found[-1])
            is_of_day = first is None or first[:10] >= day  # of a later one: another process was here first
            number += 0 if is_of_day and size + more <= self._segment_bytes else 1
        return _numbered(self.folder, self.prefix, number)


class SegmentTail:
    """The lines of a log that may be later than a UTC time, as they come; one being written comes later."""

    def __init__(self, folder: Path, prefix: str, after: str) -> None:
        self._folder, self._prefix, self._after = folder, prefix, earlier(after)
        self._read: dict[Path, int] = {}  # segment to the bytes of it that were read
        self._is_old: set[Path] = set()

    def lines(self) -> Iterator[bytes]:
        """Those that came since the last call, in the order of the log; some may be earlier than the time."""
        for path in self._segments():
            with suppress(FileNotFoundError), path.open("rb") as file:  # it may be too old by now
                file.seek(self._read.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read[path] = self._read.get(path, 0) + len(line)
                    yield line

    def _segments(self) -> list[Path]:
        """The segments that may hold such lines; one that ends before them is never read again."""
        found = segments(self._folder, self._prefix)
        for path, following in pairwise(found):
            if path in self._is_old or path in self._read:
                continue
            first = None
            with suppress(FileNotFoundError):
                first = first_time(following)
            if first is not None and first <= self._after:
                self._is_old.add(path)
        return [path for path in found if path not in self._is_old]


def json_line(document: Mapping[str, Any]) -> bytes:
    """A document as one line of a log."""
    return to_json(document) + b"\n"


def segments(folder: Path, prefix: str) -> list[Path]:
    """The files of a log, oldest first; any other that somebody put there, such as a copy, is left out."""
    named = re.compile(rf"{re.escape(prefix)}-\d{{6,}}\.jsonl")
    return sorted(path for path in folder.glob(f"{prefix}-*.jsonl") if named.fullmatch(path.name))


def _is_later(path: Path, oldest: datetime) -> bool:
    """Whether a segment was written later than that; one that another process removed was not."""
    with suppress(FileNotFoundError):
        return last_written(path) >= oldest
    return False


def _is_cut(file: int, size: int) -> bool:
    """Whether the last line has no end; it may be of a process that is writing at this moment."""
    return bool(size) and os.pread(file, 1, size - 1) != b"\n"


def _numbered(folder: Path, prefix: str, number: int) -> Path:
    return folder / f"{prefix}-{number:06d}.jsonl"


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def earlier(time: str) -> str:
    """The earliest time of a line behind which one of this time may stand; what is no time as it is."""
    with suppress(ValueError):
        moment = datetime.fromisoformat(time).astimezone(UTC) - timedelta(seconds=LATE_S)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return time


def number_of(segment: Path) -> int:
    """A segment's number, by its name."""
    return int(segment.stem.rpartition("-")[2])


def pulled_folder(folder: Path, writer: str) -> Path:
    """Where the segments of another writer lie that were brought into a log's folder."""
    return folder / _PULLED / writer


def has_pulled(folder: Path) -> bool:
    """Whether logs of other writers were brought into a log's folder."""
    return (folder / _PULLED).is_dir()


def newest_first(folder: Path, prefix: str, *, pulled: bool = False) -> Iterator[bytes]:
    """The lines of all segments, from the end, reading no more than is asked for; some may be cut.

    pulled: with those of other writers that were brought in, between its own by their time.
    """
    others = sorted((folder / _PULLED).glob("*")) if pulled else []
    brought = [path for one in others for path in segments(one, prefix)]
    own = reversed(segments(folder, prefix))
    yield from _by_time([*own, *brought]) if brought else _one_by_one(own)


def _one_by_one(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        with suppress(FileNotFoundError):  # it was too old a moment ago
            yield from _lines_backwards(path)


def _by_time(paths: Iterable[Path]) -> Iterator[bytes]:
    """Whole lines of segments, the latest first; only segments of one time are open at once."""
    waiting = sorted((_end_of(path), path) for path in paths)
    open_now: list[tuple[str, int, bytes, Iterator[tuple[str, bytes]]]] = []
    count = itertools.count()
    while waiting or open_now:
        while waiting and (not open_now or waiting[-1][0] >= open_now[-1][0]):
            _push(open_now, count, _timed(_one_by_one([waiting.pop()[1]])))
        if open_now:
            _, _, line, rest = open_now.pop()
            yield line
            _push(open_now, count, rest)


def _push(
    open_now: list[tuple[str, int, bytes, Iterator[tuple[str, bytes]]]],
    count: Iterator[int],
    lines: Iterator[tuple[str, bytes]],
) -> None:
    """Put the next line of a segment in its place, if it has one."""
    found = next(lines, None)
    if found is not None:
        bisect.insort(open_now, (found[0], -next(count), found[1], lines))


def _end_of(path: Path) -> str:
    """The time of a segment's last line, as lines have it; empty where it is gone."""
    with suppress(FileNotFoundError):
        return last_written(path).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return ""


def _timed(lines: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
    """Whole lines with their time, and no others."""
    for line in lines:
        if (time := _time_of(line)) is not None:
            yield time, line


def _lines_backwards(path: Path) -> Iterator[bytes]:
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


def first_time(path: Path) -> str | None:
    """The `time` of a segment's first line; None when that has none."""
    with path.open("rb") as file:
        return _time_of(file.readline(_HEAD_BYTES))


def last_written(path: Path) -> datetime:
    """When a segment's last whole line was written, by its own `time`; else when the file was."""
    with suppress(ValueError):
        for line in _lines_backwards(path):
            if (written := _time_of(line)) is not None:
                return datetime.fromisoformat(written).astimezone(UTC)
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _time_of(line: bytes) -> str | None:
    """The `time` of a line, which is the first of its fields: the line's end need not have been read."""
    found = _TIME.match(line)
    return found[1].decode() if found else None
