"""The process that delivers notifications: started beside a run, which waits for none and fails with none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from ...core.registry import Registry
from ...core.workspace import Workspace
from .dispatcher import Dispatcher, behind, read_state

MODULE = "opswright.agents.notifications"
_LOCK = "notifications"
_POLL_S = 0.5
_LINGER_S = 5.0  # with nothing to do and no run carried out; the next run starts it again
_LOG_BYTES = 1 << 20
_children: list[subprocess.Popen[bytes]] = []  # kept until they end, so that each is waited for


def start_dispatcher(workspace: Workspace) -> bool:
    """Have a process deliver; whether one was started. Neither raises nor waits; nothing without webhooks."""
    from filelock import Timeout

    if not workspace.settings.notifications.webhooks:
        return False
    _children[:] = [child for child in _children if child.poll() is None]
    try:
        read_state(workspace)  # from here on: what follows is told, whenever the process gets to it
        if is_dispatching(workspace):
            return False
        _children.append(_spawn(workspace))
    except (OSError, Timeout, ValueError):
        return False  # the next run, or `opswright notifications run`, catches up
    return True


def is_dispatching(workspace: Workspace) -> bool:
    """Whether a process delivers right now."""
    from filelock import Timeout

    try:
        with workspace.lock(_LOCK, timeout_s=0):
            return False
    except Timeout:
        return True


def dispatch(workspace: Workspace, registry: Registry, goes_on: Callable[[], bool]) -> bool:
    """Deliver while `goes_on`; False, at once, when another process does that already."""
    from filelock import Timeout

    while True:
        try:
            with workspace.lock(_LOCK, timeout_s=0):
                _deliver(Dispatcher(workspace, registry), workspace, goes_on)
        except Timeout:
            return False
        # who recorded something while the lock was held started no process: it is taken in now
        if behind(workspace, read_state(workspace)) == 0:
            return True


def _deliver(dispatcher: Dispatcher, workspace: Workspace, goes_on: Callable[[], bool]) -> None:
    try:
        idle_since = time.monotonic()
        while goes_on() or time.monotonic() - idle_since < _LINGER_S:
            dispatcher.step()
            if not dispatcher.is_idle or _runs_go_on(workspace):
                idle_since = time.monotonic()
            time.sleep(_POLL_S)
    finally:
        dispatcher.close()


def _runs_go_on(workspace: Workspace) -> bool:
    """Whether some process carries a run out, by the runs that were open last."""
    from ...record.index import LedgerIndex

    rows = LedgerIndex.of(workspace).rows(50, statuses=("approved", "stopped"))
    return any(workspace.is_held(row.run) for row in rows)


def _spawn(workspace: Workspace) -> subprocess.Popen[bytes]:
    """In a session of its own, in this folder: the settings' file and secrets' relative paths are here."""
    log = workspace.logs / "notifications.log"
    grown = log.is_file() and log.stat().st_size > _LOG_BYTES
    with log.open("wb" if grown else "ab") as out:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE, "--home", str(workspace.root.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=dict(os.environ),
            start_new_session=True,
        )
