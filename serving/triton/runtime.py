"""One tritonserver process: started on free local ports, found again, ended with all it left behind."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

from ...core.errors import BackendError
from .. import processes
from .environment import Install

_SHM = Path("/dev/shm")
_GRACE_S = 4.0


class TritonRuntime:
    """The server of one workspace; `folder` holds its model repository and its record."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.log = log
        self.shm_prefix = f"ops{hashlib.sha256(str(folder).encode()).hexdigest()[:10]}_"
        self._record_path = folder / "server.json"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def record(self) -> dict[str, Any] | None:
        """Id, start time and ports of the server, when it runs."""
        record = processes.read_record(self._record_path)
        return record if processes.is_running(record) else None

    def launch(self, install: Install) -> dict[str, Any]:
        """Start a server with nothing loaded; its record. It may not answer yet."""
        self.clear()
        self.repository.mkdir(parents=True, exist_ok=True)
        http, grpc, metrics = processes.free_ports(3)
        command = self.command(install, http, grpc, metrics)
        self._process = processes.spawn(command, install.environment, self.log)
        return processes.write_record(
            self._record_path, self._process.pid, http=http, grpc=grpc, metrics=metrics, log=str(self.log)
        )

    def command(self, install: Install, http: int, grpc: int, metrics: int) -> list[str]:
        """The server's command line: local addresses only, models loaded when told, own shared memory."""
        backends = [f"--backend-directory={install.backends}"] if install.backends else []
        return [
            str(install.binary),
            f"--model-repository={self.repository}",
            *backends,
            "--model-control-mode=explicit",
            "--disable-auto-complete-config",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
            *(f"--{name}-address=127.0.0.1" for name in ("http", "grpc", "metrics")),
            f"--http-port={http}",
            f"--grpc-port={grpc}",
            f"--metrics-port={metrics}",
            "--exit-timeout-secs=2",
        ]

    def exited(self) -> int | None:
        """The exit code of a server this process started and that ended."""
        return None if self._process is None else self._process.poll()

    def fail(self, what: str) -> BackendError:
        """An error with the last lines of the server's log."""
        lines = self.log.read_text(errors="replace").splitlines()[-6:] if self.log.is_file() else []
        return BackendError("\n".join([what, *lines]), log=self.log)

    def clear(self) -> None:
        """End the server, its stubs (they outlive a killed server) and their shared memory."""
        record = processes.read_record(self._record_path)
        if processes.is_running(record) and record is not None:
            processes.end([int(record["pid"])], _GRACE_S)
        processes.end(self.left_over(), grace_s=0)
        if self._process is not None:
            self._process.wait(timeout=5)
            self._process = None
        for region in _SHM.glob(f"{self.shm_prefix}*"):
            region.unlink(missing_ok=True)
        self._record_path.unlink(missing_ok=True)

    def left_over(self) -> list[int]:
        """Every process, by its command line, that belongs to this workspace's server."""
        marks = (f"--model-repository={self.repository}\0", self.shm_prefix)
        return sorted({pid for mark in marks for pid in processes.with_argument(mark)})
