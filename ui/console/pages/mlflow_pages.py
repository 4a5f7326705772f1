"""MLflow's own pages beside the console: started when somebody wants to see them, ended with the console."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from urllib.parse import quote
from urllib.request import urlopen

from ....core.errors import BackendError
from ....core.workspace import Workspace
from ....record.mirror import remote_ui, ui_command, ui_url

_START_S = 90.0


class MlflowPages:
    """One MLflow server for the workspace of a console."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""

    def url(self, run: str | None = None) -> str:
        """The page of all runs or of one; seconds the first time. Raises BackendError."""
        with self._lock:
            if remote := remote_ui(self._workspace):
                return remote
            if self._process is None or self._process.poll() is not None:
                self._start()
        if run is None:
            return self._url
        wanted = f'tags.run = "{run}"'
        return f"{self._url}&searchFilter={quote(wanted)}"

    def close(self) -> None:
        """End the MLflow server if this console started it."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                os.killpg(self._process.pid, 15)
                self._process.wait(timeout=30)

    def _start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        command = ui_command(self._workspace, port)
        self._url = ui_url(self._workspace, port)
        log = self._workspace.logs / "mlflow-pages.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise BackendError(f"MLflow's server did not start within {_START_S:.0f} s; see {log}.")
