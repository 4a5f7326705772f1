"""Processes that outlive the command which started them: found again, told apart from others, ended whole."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import NeedsError
from ..core.files import canonical_json, write_atomically

_spawned: list[subprocess.Popen[bytes]] = []  # kept, so that those which end are reaped
_CLOCK_SLACK_S = 2.0  # a start time is counted from boot, and the clock may have been set since


def spawn(
    command: Sequence[str], env: Mapping[str, str], log: Path, folder: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one: a session of its own, no input, output to the end of a log.

    folder: its working directory; this process's own when None.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            env=dict(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _reap()
    _spawned.append(process)
    return process


def _reap() -> None:
    _spawned[:] = [one for one in _spawned if one.poll() is None]


def started_at(pid: int) -> float | None:
    """When the process of that id started, in seconds since the epoch; None when there is none."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def is_running(record: dict[str, Any] | None) -> bool:
    """Whether the very process that a record names runs: its id may have gone to another since."""
    if record is None:
        return False
    started = started_at(int(record["pid"]))
    return started is not None and abs(started - float(record["started"])) < _CLOCK_SLACK_S


def write_record(path: Path, pid: int, **facts: Any) -> dict[str, Any]:
    """Leave a process's id, start time and facts (ports, a token: the owner alone may read it)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    record = {"pid": pid, "started": started_at(pid) or time.time(), "of": str(path.resolve()), **facts}
    write_atomically(path, canonical_json(record))
    path.chmod(0o600)
    return record


def read_record(path: Path) -> dict[str, Any] | None:
    """The record a process left, or None; a copy of one speaks of another folder's process."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(found, dict) or not {"pid", "started"} <= found.keys():
        return None
    return found if found.get("of", str(path.resolve())) == str(path.resolve()) else None


def with_argument(*fragments: str) -> list[int]:
    """The ids of this user's processes whose command line holds every one of these fragments.

    Each argument of it ends with a NUL: a fragment that does, too, is a whole argument or several.
    """
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline", "uids"]):
        line = "".join(f"{argument}\0" for argument in process.info["cmdline"] or [])
        mine = process.info["uids"] is None or process.info["uids"].real == os.getuid()
        if mine and process.pid != os.getpid() and all(fragment in line for fragment in fragments):
            found.append(process.pid)
    return found


def arguments_of(pid: int) -> list[str]:
    """The command line of a process; empty when it is gone."""
    import psutil

    try:
        return list(psutil.Process(pid).cmdline())
    except psutil.Error:
        return []


def end(pids: Iterable[int], grace_s: float) -> None:
    """Ask processes to end (SIGTERM), and end those still there after the grace (SIGKILL)."""
    import psutil

    processes = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            process.send_signal(signal.SIGTERM)
            processes.append(process)
        except psutil.Error:
            continue
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(alive, timeout=5)
    _reap()


def port_owner(port: int) -> str | None:
    """Who listens on a local port, as a person can find it ('pid 42: nginx -g ...'); None: nobody."""
    import psutil

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return None
        except OSError:
            pass
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == "LISTEN":
                if connection.pid is None:
                    break
                command = " ".join(psutil.Process(connection.pid).cmdline())
                return f"pid {connection.pid}: {command[:160]}"
    except psutil.Error:
        pass
    return "a process of another user"


def need_port(port: int, purpose: str) -> None:
    """Raise NeedsError, naming the owner, when a port is taken; port 0 (any free one) always passes."""
    if port and (owner := port_owner(port)):
        raise NeedsError(
            f"port {port}, wanted for {purpose}, is in use by {owner}. Stop it, or choose another port "
            f"with OPSWRIGHT_SERVING__GATEWAY_PORT (0 takes a free one)."
        )
