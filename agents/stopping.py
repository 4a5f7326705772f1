"""Stopping a run that another process carries out: a request beside the run, which that process looks for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import AskError
from ..core.files import write_atomically
from ..core.workspace import Workspace
from .record import sign_of_life

_LOOK_EVERY_S = 0.25
_ALIVE_EVERY_S = 1.0


def request_stop(workspace: Workspace, run_id: str, by: str, *, is_starting: bool = False) -> None:
    """Ask whoever carries a run out to stop it; what is finished is kept. AskError when nobody does.

    `by` goes into the record of how the run ended. `is_starting`: a process was given the run and may not
    hold it yet; it finds the request when it does.
    """
    if not is_starting and not workspace.is_held(run_id):
        raise AskError(f"run {run_id} is not being carried out, so there is nothing to stop.")
    request = {"by": by, "at": time.time()}
    write_atomically(_path(workspace, run_id), json.dumps(request).encode())


class StopWatch:
    """Whether a request to stop is meant for who took the run up at `since` (seconds since 1970) or later."""

    def __init__(self, workspace: Workspace, run_id: str, since: float) -> None:
        self._path = _path(workspace, run_id)
        self._since = since

    def requested_by(self) -> str | None:
        """Who asked for a stop since then; an older request was for somebody else."""
        try:
            request = json.loads(self._path.read_text(encoding="utf-8"))
            return str(request["by"]) if float(request["at"]) >= self._since else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


@contextmanager
def stoppable(
    workspace: Workspace, run_id: str, cancelled: threading.Event, since: float
) -> Iterator[StopWatch]:
    """While inside, a request to stop the run sets `cancelled`, and the run shows a sign of life.

    since: when this process set out to take the run up, before it had the run's lock, in seconds since 1970.
    """
    watch = StopWatch(workspace, run_id, since)
    over = threading.Event()
    alive = sign_of_life(workspace, run_id)

    def look() -> None:
        shown = 0.0
        while True:
            now = time.monotonic()
            if now - shown >= _ALIVE_EVERY_S:
                _touch(alive)
                shown = now
            if not cancelled.is_set() and watch.requested_by() is not None:
                cancelled.set()
            if over.wait(_LOOK_EVERY_S):
                return

    was_cancelled = cancelled.is_set()
    watcher = threading.Thread(target=look, name=f"stop-{run_id}", daemon=True)
    watcher.start()
    try:
        yield watch
    finally:
        over.set()
        watcher.join()
        if watch.requested_by() is not None and not was_cancelled:
            cancelled.clear()  # it was meant for this run alone


def _touch(path: Path) -> None:
    try:
        path.touch()
    except OSError:  # a full disk stops the run where it writes its record
        return


def _path(workspace: Workspace, run_id: str) -> Path:
    return workspace.run_folder(run_id) / "stop"
