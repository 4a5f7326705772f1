"""Stopping a run that another process carries out: a request beside the run, which that process looks for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import AskError
from ..core.files import write_atomically
from ..core.workspace import Workspace

_LOOK_EVERY_S = 0.25


def request_stop(workspace: Workspace, run_id: str, by: str) -> None:
    """Ask whoever carries a run out to stop it; what is finished is kept. AskError when nobody does.

    `by` goes into the record of how the run ended.
    """
    if not workspace.is_held(run_id):
        raise AskError(f"run {run_id} is not being carried out, so there is nothing to stop.")
    write_atomically(_path(workspace, run_id), by.encode())


def stop_requested_by(workspace: Workspace, run_id: str) -> str | None:
    """Who asked for the run to stop since it was last taken up, if anyone did."""
    try:
        return _path(workspace, run_id).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


@contextmanager
def stoppable(workspace: Workspace, run_id: str, cancelled: threading.Event) -> Iterator[None]:
    """While inside, a request to stop the run sets `cancelled`."""
    path = _path(workspace, run_id)
    path.unlink(missing_ok=True)
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_EVERY_S):
            if path.exists():
                cancelled.set()
                return

    watcher = threading.Thread(target=look, name=f"stop-{run_id}", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        if path.exists():
            cancelled.clear()  # it was meant for this run alone


def _path(workspace: Workspace, run_id: str) -> Path:
    return workspace.run_folder(run_id) / "stop"
