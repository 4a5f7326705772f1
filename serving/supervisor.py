"""Keeps a gateway's workers running: `python -m opswright.serving.supervisor --home WORKSPACE`.

It holds the listening socket, so that only the callers that a worker was answering notice its death: who
comes meanwhile is answered by another, or waits in the queue of the socket until the next one takes over.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from ..core.errors import HeldError, OpswrightError
from ..core.settings import load_settings
from ..core.workspace import Workspace
from . import processes
from .gateway.listening import LISTENER
from .ports import kept_port, listen
from .server_selection import serving_folder
from .watchdog import Pulse
from .workers import ConnectionTable, GatewayWorker, forget_metrics

MODULE = "opswright.serving.supervisor"
_GATEWAY = "opswright.serving.gateway"
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 2.0
_STEADY_S = 10.0  # a gateway that lived for so long is started again at once
_GRACE_S = 36.0  # to drain, to end the engine server, and to ship what is left of the traffic
_LOOK_S = 0.5
_NOT_STARTED = 126
_TELL_S = 5.0

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Keep the gateway of a workspace running until SIGTERM; the exit code."""
    parser = argparse.ArgumentParser(prog=MODULE, description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="The workspace.")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        return supervise(Workspace(load_settings(home=options.home)))
    except OpswrightError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return error.exit_code


def supervise(workspace: Workspace) -> int:
    """Bind, leave a record, and keep a gateway behind the socket; one supervisor a workspace."""
    from filelock import Timeout

    settings = workspace.settings.serving
    path = supervisor_path(workspace)
    try:
        with (
            workspace.lock("supervisor", timeout_s=0),
            listen(settings.host, settings.gateway_port, kept_port(workspace)) as listener,
        ):
            processes.write_record(path, os.getpid())
            keepers = _keepers(workspace, listener.fileno())
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, keepers.stop)
            try:
                return keepers.keep()
            finally:
                path.unlink(missing_ok=True)
    except Timeout as error:
        raise HeldError(
            f"the gateway of {workspace.root} has a supervisor; `opswright stop` ends it."
        ) from error


def _keepers(workspace: Workspace, listener: int) -> WorkerKeepers:
    settings = workspace.settings.serving
    forget_metrics(workspace)
    table, descriptor = ConnectionTable.of_size(settings.workers)
    command = [sys.executable, "-P", "-m", _GATEWAY, "--home", str(workspace.root)]
    first = GatewayWorker(0, settings.workers, secrets.token_urlsafe(24), table=descriptor)
    keepers = [
        Keeper(
            command,
            listener,
            worker=replace(first, number=number),
            watchdog_s=settings.watchdog_s,
            start_s=settings.start_timeout_s,
        )
        for number in range(settings.workers)
    ]
    return WorkerKeepers(keepers, table)


def tell_systemd() -> None:
    """Give systemd a sign of the supervisor's life, where that watches it (WatchdogSec)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notes, suppress(OSError):
        notes.setblocking(False)
        notes.sendto(b"WATCHDOG=1", address.replace("@", "\0", 1) if address[0] == "@" else address)


def supervisor_path(workspace: Workspace) -> Path:
    """Where the supervisor leaves its process id."""
    return serving_folder(workspace) / "supervisor.json"


def supervisor_record(workspace: Workspace) -> dict[str, Any] | None:
    """The record of the running supervisor, or None."""
    record = processes.read_record(supervisor_path(workspace))
    return record if processes.is_running(record) else None


class Keeper:
    """Runs one worker's command again whenever it ends by itself, or no longer gives a sign of life.

    It waits longer each time the command ends soon. listener: the descriptor of the socket that each process
    takes over. watchdog_s, start_s: how long it may be silent, and until its first sign.
    """

    def __init__(
        self,
        command: Sequence[str],
        listener: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        worker: GatewayWorker | None = None,
        watchdog_s: float = 10.0,
        start_s: float = 120.0,
    ) -> None:
        self.worker = worker or GatewayWorker()
        self.on_lost: Callable[[], None] = lambda: None  # called when it hung, after it was killed
        self.on_ended: Callable[[], None] = lambda: None
        self._command = command
        self._listener = listener
        self._clock = clock
        self._watchdog_s, self._start_s = watchdog_s, start_s
        self._stopping = threading.Event()
        self._stopped_at: float | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pulse: Pulse | None = None

    def keep(self) -> int:
        """Until `stop`, or until the command refuses to begin: its exit code.

        A worker that somebody ended (SIGTERM: it drains, and ends with 0) is started again like any other.
        """
        wait_s, starts = _FIRST_WAIT_S, 0
        while True:
            began = self._clock()
            code = self._run()
            self.on_ended()
            starts += 1
            lived_s = self._clock() - began
            if self._stopping.is_set():
                return 0
            has_served = self._pulse is not None and self._pulse.has_begun and lived_s >= _STEADY_S
            if starts == 1 and code > 0 and not has_served:  # it refused to begin: who started us is told why
                return code
            wait_s = _FIRST_WAIT_S if lived_s >= _STEADY_S else min(wait_s * 2, _LONGEST_WAIT_S)
            log.warning("gateway %d ended (exit code %d); starting it again", self.worker.number, code)
            if self._stopping.wait(wait_s):
                return 0

    def _run(self) -> int:
        """The exit code of the process; where none can be made, a shell's for what it cannot run."""
        try:
            process, reading = self._start()
        except OSError as error:  # no memory, processes or files left just now
            log.error("gateway %d cannot be started: %s", self.worker.number, error)
            return _NOT_STARTED
        try:
            if self._stopping.is_set():  # asked to stop while it was started
                process.terminate()
            return self._watched(process, reading)
        finally:
            os.close(reading)

    def _start(self) -> tuple[subprocess.Popen[bytes], int]:
        """A process that was started, and the descriptor on which it gives signs of life."""
        reading, writing = os.pipe()
        try:
            told = replace(self.worker, beats=writing).environment
            passed = [one for one in (self._listener, writing, self.worker.table) if one is not None]
            environment = {**os.environ, **told, LISTENER: str(self._listener)}
            process = self._process = subprocess.Popen(self._command, env=environment, pass_fds=passed)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return process, reading

    def _watched(self, process: subprocess.Popen[bytes], reading: int) -> int:
        """The exit code of a process, ended when it hangs or does not stop."""
        pulse = self._pulse = Pulse(process.pid, self._watchdog_s, self._start_s, self._clock)
        news = select.poll()  # select.select takes no descriptor above 1,023
        news.register(reading, select.POLLIN | select.POLLHUP)
        while process.poll() is None:
            has_news = bool(news.poll(_LOOK_S * 1000))
            if has_news and not os.read(reading, 4096):
                break  # it ended
            if has_news:
                pulse.beat()
            elif self._stopped_at is None and pulse.is_lost():  # one that ends is silent, and has its grace
                log.error("gateway %d (pid %d) hangs; it is killed", self.worker.number, process.pid)
                process.kill()
                self.on_lost()
            if self._stopped_at is not None and self._clock() > self._stopped_at + _GRACE_S:
                process.kill()
        return process.wait()

    def forgive(self) -> None:
        """Begin to count its silence anew."""
        if self._pulse is not None:
            self._pulse.forgive()

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """End the process, giving it time to drain, and do not start it again."""
        if self._stopped_at is None:
            self._stopped_at = self._clock()
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()


class WorkerKeepers:
    """All workers of a gateway behind one socket, each with a keeper of its own."""

    def __init__(self, keepers: Sequence[Keeper], table: ConnectionTable) -> None:
        self._keepers = keepers
        self._codes: list[int] = []
        for keeper in keepers:
            keeper.on_ended = partial(table.leave, keeper.worker.number)
            keeper.on_lost = self._forgive

    def keep(self) -> int:
        """Until `stop`, or until one refuses to begin: that one's exit code."""
        threads = [threading.Thread(target=self._keep, args=(keeper,)) for keeper in self._keepers]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                tell_systemd()
                thread.join(_TELL_S)
        return self._codes[0]

    def _keep(self, keeper: Keeper) -> None:
        code = 1
        try:
            code = keeper.keep()
        finally:
            self._codes.append(code)
            self.stop()

    def _forgive(self) -> None:
        """One hung: whatever it held, the others may have waited for."""
        for keeper in self._keepers:
            keeper.forgive()

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """End all of them, and start none again."""
        for keeper in self._keepers:
            keeper.stop()


if __name__ == "__main__":
    sys.exit(main())
