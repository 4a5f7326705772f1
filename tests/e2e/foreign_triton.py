"""A Triton server on a port, started by hand as if by somebody else, with a secret on its repository API."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

SECRET = "a-secret-of-theirs"
_PATIENCE_S = 120.0


class ForeignTriton:
    """Its `url`; `start`, `kill`, `freeze`, `thaw` and `end`, as often as wanted."""

    def __init__(
        self,
        install: Any,
        repository: Path | str,
        port: int,
        log: Path,
        mode: str = "explicit",
        secret: str = SECRET,
        completes_config: bool = False,
    ):
        self.url = f"http://127.0.0.1:{port}"
        self._install = install
        self._log = log
        restricted = f"--http-restricted-api=model-repository:opswright-secret={secret}"
        self._command = [
            str(install.binary),
            f"--model-repository={repository}",
            f"--backend-directory={install.backends}",
            f"--model-control-mode={mode}",
            *([] if completes_config else ["--disable-auto-complete-config"]),
            f"--backend-config=python,shm-region-prefix-name=foreign{port}_",
            "--http-address=127.0.0.1",
            f"--http-port={port}",
            "--allow-grpc=false",
            "--allow-metrics=false",
            "--exit-timeout-secs=2",
            *([restricted] if secret else []),
        ]
        self._shm_prefix = f"foreign{port}_"
        self.process: psutil.Popen | None = None

    def start(self) -> None:
        with self._log.open("ab") as out:
            self.process = psutil.Popen(
                self._command, env=self._environment(), stdout=out, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + _PATIENCE_S
        while not self.is_live():
            assert self.process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < deadline, self._log.read_text()[-2000:]
            time.sleep(0.02)

    def _environment(self) -> dict[str, str]:
        aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        return {**self._install.environment, **aws}

    def is_live(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/health/live", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def models(self) -> set[str]:
        """What is READY there."""
        reply = httpx.post(
            f"{self.url}/v2/repository/index", json={}, headers={"opswright-secret": SECRET}, trust_env=False
        )
        return {row["name"] for row in reply.json() if row.get("state") == "READY"}

    def stubs(self) -> list[psutil.Process]:
        assert self.process is not None
        return [one for one in self.process.children(recursive=True) if "stub" in one.name()]

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """As a machine that goes: the server and its models' processes at once."""
        if self.process is None:
            return
        family = [self.process, *self.process.children(recursive=True)] if self.process.is_running() else []
        for one in family:
            try:
                os.kill(one.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(timeout=_PATIENCE_S)
        psutil.wait_procs(family, timeout=_PATIENCE_S)
        for region in Path("/dev/shm").glob(f"{self._shm_prefix}*"):
            region.unlink(missing_ok=True)

    def end(self) -> None:
        self.kill()
