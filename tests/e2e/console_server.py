"""A real console in a process of its own, on a small workspace that real runs made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

PLUGIN = Path(__file__).with_name("plugin")
CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_START_S = 600.0  # a busy machine takes a minute to import it all


def environment() -> dict[str, str]:
    """What a command needs to find the small skills."""
    path = os.pathsep.join([str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPSWRIGHT_")}
    return {**kept, "PYTHONPATH": path, "OPSWRIGHT_MLFLOW__MIRROR": "off"}


def opswright(folder: Path, *words: str, code: int = 0) -> str:
    """What a command prints in a folder; it must end with `code`."""
    command = [sys.executable, "-m", "opswright.ui.cli", *words]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=800)
    assert done.returncode == code, f"{words} ended with {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


def prepare(folder: Path) -> Path:
    """A folder with a workspace in which each plan of the plugin was carried out."""
    for path in sorted(PLUGIN.iterdir()):
        if path.is_file() and path.suffix != ".py":
            shutil.copy(path, folder)
    for plan in sorted(folder.glob("[0-9]-*.yaml")):
        opswright(folder, "--actor", "ada", "run", plan.name, "--yes", "--json")
    return folder


class ConsoleServer:
    """`opswright chat` on a folder's workspace."""

    def __init__(self, folder: Path, port: int, *options: str, **variables: str) -> None:
        self.folder = folder
        self.port = port
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "console.log"
        self._options = options
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait for its first page."""
        command = [sys.executable, "-m", "opswright.ui.cli", "chat", "--port", str(self.port), *self._options]
        env = {**environment(), **self._variables}
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log.read_text()[-2000:]
            try:
                with urllib.request.urlopen(self.url, timeout=60):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError(f"no page within {_START_S:.0f} s: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End it as Ctrl-C would."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=300)
        self._process = None

    def kill(self, how: int) -> None:
        """End it by a signal."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(timeout=300)
