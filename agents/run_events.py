"""Events of a run: what its steps tell while they go on, kept beside the run, so that anyone can follow it.

The ledger says what happened; events say how far it is: progress, figures, lines of log. They are written as
they come, are not flushed to disk, and may be lost with the machine: nothing depends on them.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.contract import Events
from ..core.workspace import Workspace

_PROGRESS_EVERY_S = 0.2
_LINES = 200  # of a step's log that are kept for showing
_POINTS = 400  # of a curve; a longer one is thinned
_STEPS = 500


def run_events_path(workspace: Workspace, run_id: str) -> Path:
    """Where the events of a run lie."""
    return workspace.run_folder(run_id) / "events.jsonl"


class RunEventFile:
    """Events written as JSON lines; a disk that is full costs events, never the run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._told: dict[str, float] = {}

    def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
        """At most five lines a second, and the last."""
        now = time.monotonic()
        if now - self._told.get(step, 0.0) >= _PROGRESS_EVERY_S or done == total:
            self._told[step] = now
            self._write(step, "progress", done=done, total=total, unit=unit)

    def metric(self, step: str, name: str, value: float, at: int | None) -> None:
        """A figure."""
        self._write(step, "metric", name=name, value=value, at=at)

    def log(self, step: str, line: str) -> None:
        """A line."""
        self._write(step, "log", line=line[:2000])

    def begun(self, step: str, skill: str) -> None:
        """The step starts, perhaps once more."""
        self._write(step, "begun", skill=skill)

    def ended(self, step: str, how: str, seconds: float) -> None:
        """The step is over."""
        self._write(step, "ended", how=str(how), seconds=round(seconds, 3))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, step: str, what: str, **facts: Any) -> None:
        line = json.dumps({"step": step, "what": what, "at_s": round(time.time(), 3), **facts})
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(self._file, line.encode() + b"\n")
        except OSError:
            return


class EventFanout:
    """Events that go to several listeners."""

    def __init__(self, listeners: Sequence[Events]) -> None:
        self._listeners = listeners

    def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
        """To each."""
        for one in self._listeners:
            one.progress(step, done, total, unit)

    def metric(self, step: str, name: str, value: float, at: int | None) -> None:
        """To each."""
        for one in self._listeners:
            one.metric(step, name, value, at)

    def log(self, step: str, line: str) -> None:
        """To each."""
        for one in self._listeners:
            one.log(step, line)

    def begun(self, step: str, skill: str) -> None:
        """To each."""
        for one in self._listeners:
            one.begun(step, skill)

    def ended(self, step: str, how: str, seconds: float) -> None:
        """To each."""
        for one in self._listeners:
            one.ended(step, how, seconds)


@dataclass
class StepEvents:
    """How far one step is; `state` is running or how it ended."""

    step: str
    skill: str
    state: str = "running"
    started_s: float = 0.0  # seconds since 1970
    seconds: float | None = None
    done: float = 0.0
    total: float | None = None
    unit: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    lines_seen: int = 0


class RunEvents:
    """A run's events as far as they were read; `refresh` reads on. Its size does not grow with the run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.steps: dict[str, StepEvents] = {}
        self._stride: dict[tuple[str, str], int] = {}
        self._seen: dict[tuple[str, str], int] = {}

    @property
    def offset(self) -> int:
        """How much was read, in bytes: it changes when there is more to see."""
        return self._offset

    def refresh(self) -> RunEvents:
        """Read what was added; a line that is being written is left for the next time."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    self._take(line)
        except FileNotFoundError:
            pass
        return self

    def _take(self, line: bytes) -> None:
        try:
            told = json.loads(line)
            step, what = str(told["step"]), told["what"]
            if what == "begun":
                if step in self.steps or len(self.steps) < _STEPS:
                    self.steps[step] = StepEvents(step, str(told["skill"]), started_s=float(told["at_s"]))
                return
            events = self.steps.get(step)
            if events is None:
                return
            if what == "progress":
                events.done, events.total, events.unit = told["done"], told["total"], str(told["unit"])
            elif what == "metric":
                self._figure(events, str(told["name"]), float(told["value"]), told["at"])
            elif what == "log":
                events.lines.append(str(told["line"]))
                events.lines_seen += 1
            elif what == "ended":
                events.state, events.seconds = str(told["how"]), float(told["seconds"])
        except (ValueError, KeyError, TypeError):
            return  # cut by a crash

    def _figure(self, events: StepEvents, name: str, value: float, at: int | None) -> None:
        events.figures[name] = value
        if at is None:
            return
        key = (events.step, name)
        curve = events.curves.setdefault(name, [])
        if curve and at <= curve[-1][0]:  # taken up again from an earlier training step
            curve[:] = [point for point in curve if point[0] < at]
        stride = self._stride.setdefault(key, 1)
        seen = self._seen[key] = self._seen.get(key, -1) + 1
        if seen % stride == 0:
            curve.append((at, value))
        if len(curve) > _POINTS:
            curve[:] = curve[::2]
            self._stride[key] = 2 * stride
