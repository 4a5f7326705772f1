"""A process that carries out one run, so that the run outlives the console which a person closes.

`python -m opswright.agents.worker --home FOLDER` waits for one task as a JSON line on its input: the run and
who acts; consent is in the ledger. Without a task it ends. It loads what a run needs before it waits, so that
a task starts at once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from ..core.errors import AskError, OpswrightError
from ..core.principal import Principal
from ..core.settings import load_settings
from ..core.workspace import Workspace
from .agent import Agent

MODULE = "opswright.agents.worker"


class Worker:
    """A worker process as its starter sees it."""

    def __init__(self, workspace: Workspace) -> None:
        self._log = workspace.logs / "worker.log"
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE, "--home", str(workspace.root)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C in the console's terminal is not meant for the run
            )

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """What the process ended with."""
        return self._process.poll()

    def give(self, job: dict[str, Any]) -> bool:
        """Hand over the job; False when the process is gone."""
        if self._process.stdin is None or not self.is_running:
            return False
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.close()
        except OSError:
            return False
        return True

    def dismiss(self) -> None:
        """Let a worker without a job go."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=30)


def main(argv: list[str] | None = None) -> int:
    """Wait for the job, carry it out, and give the exit code the command line would give."""
    home = Path((sys.argv[1:] if argv is None else argv)[1])
    from ..skills import load_registry
    from .graph import build_graph  # noqa: F401  what a run needs, imported while nobody waits

    registry = load_registry()
    if not (line := sys.stdin.readline().strip()):
        return 0
    try:
        job = json.loads(line)
        run, principal = str(job["run"]), Principal.from_fields(job["principal"])
    except (ValueError, KeyError, TypeError) as error:
        print(f"{os.getpid()}: invalid task: {error!r}", file=sys.stderr, flush=True)
        return AskError.exit_code
    cancelled = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: cancelled.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        settings = load_settings(home=home, actor=principal.name)
        agent = Agent(Workspace(settings), registry, cancelled=cancelled, acting=principal)
        outcome = agent.resume(run, since=job.get("since"))
    except OpswrightError as error:
        print(f"{os.getpid()} run {run}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    print(f"{os.getpid()} run {run}: {outcome.status} ({outcome.message})", flush=True)
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
