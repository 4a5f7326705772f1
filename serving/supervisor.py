"""Keeps a gateway running: `python -m opswright.serving.supervisor --home WORKSPACE`.

It holds the listening socket, so that only the callers that a gateway was answering notice its death: who
comes meanwhile waits in the queue of the socket until the next one takes over.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
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

MODULE = "opswright.serving.supervisor"
_GATEWAY = "opswright.serving.gateway"
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 2.0
_STEADY_S = 10.0  # a gateway that lived for so long is started again at once
_GRACE_S = 15.0

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
            command = [sys.executable, "-P", "-m", _GATEWAY, "--home", str(workspace.root)]
            keeper = Keeper(command, listener.fileno())
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, keeper.stop)
            try:
                return keeper.keep()
            finally:
                path.unlink(missing_ok=True)
    except Timeout as error:
        raise HeldError(
            f"the gateway of {workspace.root} has a supervisor; `opswright stop` ends it."
        ) from error


def supervisor_path(workspace: Workspace) -> Path:
    """Where the supervisor leaves its process id."""
    return serving_folder(workspace) / "supervisor.json"


def supervisor_record(workspace: Workspace) -> dict[str, Any] | None:
    """The record of the running supervisor, or None."""
    record = processes.read_record(supervisor_path(workspace))
    return record if processes.is_running(record) else None


class Keeper:
    """Runs a command again whenever it ends by itself, waiting longer each time it does so soon.

    listener: the descriptor of the socket that each process takes over.
    """

    def __init__(
        self, command: Sequence[str], listener: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._command = command
        self._listener = listener
        self._clock = clock
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def keep(self) -> int:
        """Until `stop`, or until the command ends with 0 or cannot begin: its exit code."""
        wait_s, starts = _FIRST_WAIT_S, 0
        while True:
            began = self._clock()
            code = self._run()
            starts += 1
            lived_s = self._clock() - began
            if self._stopping.is_set() or code == 0:
                return 0
            if starts == 1 and code > 0:  # it refused to begin: whoever started us is told why
                return code
            wait_s = _FIRST_WAIT_S if lived_s >= _STEADY_S else min(wait_s * 2, _LONGEST_WAIT_S)
            log.warning("the gateway ended (exit code %d); starting it again", code)
            if self._stopping.wait(wait_s):
                return 0

    def _run(self) -> int:
        environment = {**os.environ, LISTENER: str(self._listener)}
        self._process = subprocess.Popen(self._command, env=environment, pass_fds=[self._listener])
        if self._stopping.is_set():  # asked to stop while it was started
            self._process.terminate()
        return self._process.wait()

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """End the process, giving it time to drain, and do not start it again."""
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()


if __name__ == "__main__":
    sys.exit(main())
