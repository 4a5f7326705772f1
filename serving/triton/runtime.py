"""One tritonserver process: started behind a private socket, found again, ended with all it left behind."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import BackendError
from .. import processes
from .access import SOCKET_NAME, TritonAccess
from .environment import Install

_SHM = Path("/dev/shm")
_GRACE_S = 4.0


@dataclass(frozen=True)
class ModelProcess:
    """A process that runs a model for Triton, and its shared memory."""

    pid: int
    regions: tuple[Path, ...]


class TritonRuntime:
    """The server of one workspace; `folder` holds its model repository and its record."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder.absolute()  # the server's working directory
        self.repository = self.folder / "repository"
        self.log = log
        self.shm_prefix = f"ops{hashlib.sha256(str(self.folder).encode()).hexdigest()[:10]}_"
        self._record_path = self.folder / "server.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._is_adopted = False

    @property
    def record(self) -> dict[str, Any] | None:
        """Id, start time, socket and secret of the server, when it runs."""
        record = processes.read_record(self._record_path)
        return record if processes.is_running(record) else None

    def launch(self, install: Install) -> TritonAccess:
        """Start a server with nothing loaded; how to reach it. It may not answer yet."""
        self.clear()
        access = TritonAccess.prepare(self.folder)
        self.repository.mkdir(exist_ok=True)
        command = self.command(install, access)
        self._process = processes.spawn(command, install.environment, self.log, folder=self.folder)
        processes.write_record(
            self._record_path,
            self._process.pid,
            socket=str(access.socket),
            secret=access.secret,
            log=str(self.log),
        )
        return access

    def adopt(self) -> TritonAccess | None:
        """How to reach a server that another process started for this folder and that still runs."""
        record = self.record
        if record is None or not {"secret", "socket"} <= record.keys():
            return None
        self._is_adopted = True
        return TritonAccess(self.folder, str(record["secret"]))

    def command(self, install: Install, access: TritonAccess) -> list[str]:
        """The server's command line: for its owner alone, models loaded when told, own shared memory."""
        backends = [f"--backend-directory={install.backends}"] if install.backends else []
        return [
            str(install.binary),
            f"--model-repository={self.repository}",
            *backends,
            "--model-control-mode=explicit",
            "--disable-auto-complete-config",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
            *access.options,
            "--exit-timeout-secs=2",
        ]

    def close_memory(self) -> None:
        """Close the models' shared memory to other users; Triton lets all read it, whatever the umask."""
        for region in _SHM.glob(f"{self.shm_prefix}*"):
            with contextlib.suppress(FileNotFoundError):  # its model left meanwhile
                region.chmod(0o600)

    def workers(self, name: str) -> list[ModelProcess]:
        """The processes that run a model, by its name in Triton, and the shared memory of each."""
        found = []
        for pid in processes.with_argument(f"{self.repository}/{name}/"):
            words = processes.arguments_of(pid)
            regions = [word.lstrip("/") for word in words if word.lstrip("/").startswith(self.shm_prefix)]
            found.append(ModelProcess(pid, tuple(_SHM / region for region in regions)))
        return found

    def end_workers(self, name: str, known: Iterable[ModelProcess]) -> None:
        """End what still runs of a model that was given up, and free its shared memory.

        known: its workers as they were seen alive: of one that was killed nothing else tells the memory.
        """
        alive = self.workers(name)
        processes.end([worker.pid for worker in alive], grace_s=0)
        for worker in (*known, *alive):
            for region in worker.regions:
                region.unlink(missing_ok=True)

    def exited(self) -> int | None:
        """The exit code of a server that ended; -1 for one that was taken over, whose code nobody knows."""
        if self._process is not None:
            return self._process.poll()
        return -1 if self._is_adopted and self.record is None else None

    def fail(self, what: str) -> BackendError:
        """An error with the last lines of the server's log."""
        lines = self.log.read_text(errors="replace").splitlines()[-6:] if self.log.is_file() else []
        return BackendError("\n".join([what, *lines]), log=self.log)

    def clear(self) -> None:
        """End the server, its stubs (they outlive a killed server) and their shared memory."""
        self._is_adopted = False
        record = processes.read_record(self._record_path)
        if processes.is_running(record) and record is not None:
            processes.end([int(record["pid"])], _GRACE_S)
        processes.end(self.left_over(), grace_s=0)
        if self._process is not None:
            self._process.wait(timeout=5)
            self._process = None
        for region in _SHM.glob(f"{self.shm_prefix}*"):
            region.unlink(missing_ok=True)
        (self.folder / SOCKET_NAME).unlink(missing_ok=True)
        self._record_path.unlink(missing_ok=True)

    def left_over(self) -> list[int]:
        """Every process, by its command line, that belongs to this workspace's server."""
        marks = (f"--model-repository={self.repository}\0", self.shm_prefix)
        return sorted({pid for mark in marks for pid in processes.with_argument(mark)})
