"""A run as JSON lines on stdout: what happens while it does, and the outcome last."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Any

_EVERY_S = 0.2


class StreamEvents:
    """Each event of a run as one line, at most five of progress a second for a step.

    A reader that has gone costs events, never the run.
    """

    def __init__(self) -> None:
        self._told: dict[str, float] = {}
        self._is_read = True

    def __enter__(self) -> StreamEvents:
        """The events themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Leave the lines as they are."""

    def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
        """How far a step is."""
        now = time.monotonic()
        if now - self._told.get(step, 0.0) >= _EVERY_S or done == total:
            self._told[step] = now
            self._write("progress", step=step, done=done, total=total, unit=unit)

    def metric(self, step: str, name: str, value: float, at: int | None) -> None:
        """A figure."""
        self._write("metric", step=step, name=name, value=value, at=at)

    def log(self, step: str, line: str) -> None:
        """A line of a step's log."""
        self._write("log", step=step, line=line)

    def begun(self, step: str, skill: str) -> None:
        """A step starts, perhaps once more."""
        self._write("begun", step=step, skill=skill)

    def ended(self, step: str, how: str, seconds: float) -> None:
        """A step is over."""
        self._write("ended", step=step, how=str(how), seconds=round(seconds, 3))

    def _write(self, what: str, **facts: Any) -> None:
        if self._is_read:
            try:
                write_line(what, **facts)
            except OSError:
                self._is_read = False


def write_line(what: str, **facts: Any) -> None:
    """One line of the stream, ASCII only, so that no text within it can look like another line."""
    sys.stdout.write(json.dumps({"what": what, **facts}) + "\n")
    sys.stdout.flush()
