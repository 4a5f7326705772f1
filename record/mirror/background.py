"""In the background: one process a workspace that keeps MLflow up with the ledger while runs go on.

The agent only leaves a note (which run to follow) and starts the process when none is there; importing and
writing MLflow costs seconds, and a run never waits for that nor fails with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from ...core.errors import BackendError, OpswrightError
from ...core.workspace import Workspace
from ..ledger import Ledger
from .sync import Mirror

_POLL_S = 0.5
_GRACE_S = 3.0  # a run that nobody carries out is followed for this long yet
_LINGER_S = 10.0  # and after the last one for this long: importing MLflow anew costs seconds of a core
_GIVE_UP_S = 900.0  # MLflow out of reach after the last run ended: the next run's mirror catches up
_LONGEST_PAUSE_S = 60.0
_LOG_BYTES = 1 << 20
_children: list[subprocess.Popen[bytes]] = []  # kept until they end, so that each is waited for


def start_background(workspace: Workspace, run: str) -> bool:
    """Have a process follow a run to its end; whether one had to be started. Neither raises nor waits."""
    from filelock import Timeout

    _children[:] = [child for child in _children if child.poll() is None]
    try:
        with workspace.lock("mirror-notes", timeout_s=1):
            (_notes(workspace) / run).touch()
            if _is_followed(workspace):
                return False
        _children.append(_spawn(workspace, run))
    except (OSError, Timeout):
        return False  # `opswright audit sync` and the next run catch up
    return True


def _spawn(workspace: Workspace, run: str) -> subprocess.Popen[bytes]:
    """The follower, in a session of its own; a tracking URI may hold a password: not on its command line."""
    log = workspace.logs / "mirror.log"
    grown = log.is_file() and log.stat().st_size > _LOG_BYTES
    environment = {
        **os.environ,
        "OPSWRIGHT_MLFLOW__TRACKING_URI": workspace.settings.tracking_uri(),
        "OPSWRIGHT_MLFLOW__EXPERIMENT": workspace.settings.mlflow.experiment,
    }
    command = [
        sys.executable,
        "-m",
        "opswright.record.mirror",
        "--home",
        str(workspace.root),
        "--follow",
        run,
    ]
    with log.open("wb" if grown else "ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=workspace.root,
            env=environment,
            start_new_session=True,
        )


def follow(workspace: Workspace, run: str) -> None:
    """Mirror until no followed run goes on; at once nothing when another process does that already."""
    from filelock import Timeout

    with ExitStack() as alone:
        with workspace.lock("mirror-notes"):
            (_notes(workspace) / run).touch()
            try:
                alone.enter_context(workspace.lock("mirror-follower", timeout_s=0))
            except Timeout:
                return
        if hasattr(os, "nice"):
            os.nice(10)
        _Follower(workspace).run(alone)


class _Follower:
    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.mirror = Mirror(workspace)
        self._seen: tuple[tuple[str, int], ...] | None = None  # the ledger's files as last mirrored
        self._free_since: dict[str, float] = {}

    def run(self, alone: ExitStack) -> None:
        """Until every note is settled; `alone` is let go of under the lock that notes are written with."""
        pause, failing_since, idle_since = _POLL_S, None, None
        while True:
            try:
                self._catch_up()
                pause, failing_since = _POLL_S, None
            except BackendError as error:
                _say(f"will try again: {error}")
                failing_since = failing_since or time.monotonic()
                pause = min(2 * pause + 1, _LONGEST_PAUSE_S)
                self.mirror, self._seen = Mirror(self.workspace), None
            except OpswrightError as error:
                _say(f"stopped: {error}")
                return
            hopeless = failing_since is not None and time.monotonic() - failing_since > _GIVE_UP_S
            if not self._settled(run_is_shown=failing_since is None or hopeless):
                idle_since = None
            elif idle_since is None:
                idle_since = time.monotonic()
                self._seen = None  # once more: what stopped without a record is shown so
            elif time.monotonic() - idle_since > _LINGER_S and self._let_go(alone, hopeless):
                return
            time.sleep(pause)

    def _let_go(self, alone: ExitStack, hopeless: bool) -> bool:
        """End, unless a note was left since: no run is left to a process that is about to go."""
        with self.workspace.lock("mirror-notes"):
            is_shown = hopeless or self._ledger_files() == self._seen
            if not self._settled(run_is_shown=is_shown):
                return False
            for note in _notes(self.workspace).iterdir():
                note.unlink()
            alone.close()
            return True

    def _catch_up(self) -> None:
        now = self._ledger_files()
        if now != self._seen:
            self.mirror.sync(wait_s=600)
            self._seen = now

    def _ledger_files(self) -> tuple[tuple[str, int], ...]:
        return tuple((path.name, path.stat().st_size) for path in Ledger.of(self.workspace).segments())

    def _settled(self, run_is_shown: bool) -> bool:
        """Whether no followed run goes on: ended and shown, or in nobody's hands for a while."""
        if not run_is_shown:
            return False
        now, settled = time.monotonic(), True
        for note in _notes(self.workspace).iterdir():
            if self.workspace.is_held(note.name):
                self._free_since.pop(note.name, None)
                settled = False
                continue
            free_for = now - self._free_since.setdefault(note.name, now)
            goes_on = note.name in self.mirror.states
            settled = settled and not (goes_on and free_for < _GRACE_S)
        return settled


def _notes(workspace: Workspace) -> Path:
    folder = workspace.root / "mirror" / "follow"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_followed(workspace: Workspace) -> bool:
    from filelock import Timeout

    try:
        with workspace.lock("mirror-follower", timeout_s=0):
            return False
    except Timeout:
        return True


def _say(text: str) -> None:
    print(time.strftime("%Y-%m-%dT%H:%M:%S"), text, flush=True)
