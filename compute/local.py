"""The backend `local`: a process of this machine that outlives the one that started it.

It is found again by its process id together with the job's token, which stands in its environment: an id
alone may have gone to another process since.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.contract import Finding, JobHandle
from ..core.errors import AskError, BackendError, NeedsError
from .folder import GRACE_S, SCRIPT, JobFolder, missing_inputs
from .job import Job, JobState, JobStatus, Resources

if TYPE_CHECKING:
    import psutil

_TOKEN = "OPSWRIGHT_JOB_TOKEN"
_EXEC_S = 5.0  # what exec may take on a busy machine; kernel threads never have an environment
_started: list[subprocess.Popen[bytes]] = []  # kept, so that those which end are reaped


class LocalCompute:
    """Runs each job at once, beside everything else on this machine."""

    name = "local"
    poll_s = (0.02, 0.5)

    def __init__(self, grace_s: int = GRACE_S, is_alive: Callable[[int, str], bool] | None = None) -> None:
        self._grace_s = grace_s
        self._is_alive = is_alive or _has_token

    def check(self, resources: Resources) -> Sequence[Finding]:
        """That it runs here, and whether bash is there to run it."""
        if shutil.which("bash") is None:
            return [Finding(level="stop", message="bash is not installed.", fix=_BASH)]
        return [Finding(level="ok", message="it runs on this machine (compute: local).")]

    def submit(self, job: Job) -> JobHandle:
        """Start the job in a session of its own."""
        if (bash := shutil.which("bash")) is None:
            raise NeedsError(f"jobs on this machine run in bash, which is not installed. {_BASH}")
        if missing := missing_inputs(job):
            raise AskError(f"job {job.name} needs {', '.join(missing)} in {job.folder}: not found.")
        state = JobFolder.create(job, job.folder)
        limit_s = math.ceil((job.resources.walltime_minutes or 0) * 60)  # 0: no limit
        command = [bash, str(SCRIPT), str(state.path), str(job.folder), str(limit_s), str(self._grace_s)]
        with job.log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=job.folder,
                env={**os.environ, _TOKEN: state.token},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _reap()
        _started.append(process)
        return state.keep(_handle(state, process.pid))

    def find(self, job: Job) -> JobHandle | None:
        """The last attempt, by the handle or status file it left or by its token among the processes."""
        state = JobFolder.latest(job, job.folder)
        if state is None or state.is_closed:
            return None
        if (handle := state.handle()) is not None:
            return handle
        if (seen := state.status()) is not None:
            return state.keep(_handle(state, seen.pid))
        state.close()  # before the look: a script that starts from now on does nothing
        if (seen := state.status()) is not None:  # it began in between
            state.reopen()
            return state.keep(_handle(state, seen.pid))
        for process in _processes(state.token):
            process.kill()
        return None

    def poll(self, handle: JobHandle) -> JobStatus:
        """By its process, then by its status file."""
        _reap()
        state = JobFolder.of(handle)
        seen = state.status()
        if seen is None or seen.state == "running":
            if self._is_alive(int(handle.id), handle.token):
                return JobStatus(state=JobState.RUNNING)
            seen = state.status()  # it may have ended between the two looks
        if seen is not None and seen.state == "exited":
            return seen.ended_as()
        return JobStatus(
            state=JobState.LOST,
            message="is gone and left no exit code: killed, or the machine was restarted",
            remedy="Repeat the step: it goes on from what was saved.",
        )

    def logs(self, handle: JobHandle) -> str:
        """The end of its log."""
        return JobFolder.of(handle).log_tail()

    def cancel(self, handle: JobHandle) -> None:
        """SIGTERM to the job, SIGKILL after a grace; of one that ended, SIGKILL to what it left."""
        pid = int(handle.id)
        if _has_token(pid, handle.token):
            _signal(pid, signal.SIGTERM)
            return
        for process in _processes(handle.token):
            _signal(process.pid, signal.SIGKILL)

    def collect(self, handle: JobHandle) -> Path:
        """The folder it ran in."""
        job = JobFolder.of(handle).job
        require_outputs(job, job.folder)
        return job.folder


_BASH = "Install it with the system's package manager (apt-get install bash)."


def stop_jobs(root: Path, wait_s: float = GRACE_S) -> list[str]:
    """End every job of this machine that works below a folder, and name each."""
    import psutil

    found: dict[psutil.Process, JobFolder] = {}
    for process in psutil.process_iter(["cmdline"]):
        arguments = process.info["cmdline"] or []
        if len(arguments) > 2 and arguments[1] == str(SCRIPT):
            state = JobFolder(Path(arguments[2]))
            if state.path.is_relative_to(root.resolve()) and state.path.is_dir():
                found[process] = state
    for process in found:
        _signal(process.pid, signal.SIGTERM)
    psutil.wait_procs(list(found), timeout=wait_s)
    for state in found.values():
        for process in _processes(state.token):
            _signal(process.pid, signal.SIGKILL)
    return [f"job {state.job.name} (pid {process.pid})" for process, state in found.items()]


def require_outputs(job: Job, folder: Path, wait_s: float = 0) -> None:
    """BackendError when an output is not there after `wait_s`, which a network disk may take."""
    until = time.monotonic() + wait_s
    while missing := [name for name in job.outputs if not (folder / name).exists()]:
        if time.monotonic() >= until:
            raise BackendError(
                f"job {job.name} ended without an error but left no {', '.join(missing)} in {folder}.",
                job.log,
            )
        time.sleep(0.1)


def _handle(state: JobFolder, pid: int) -> JobHandle:
    return JobHandle(
        backend=LocalCompute.name, id=str(pid), token=state.token, facts={"state": str(state.path)}
    )


def _has_token(pid: int, token: str, wait_s: float = _EXEC_S) -> bool:
    """Whether a live process of that id carries the token; one still in exec gets `wait_s` to be through."""
    import psutil

    until = time.monotonic() + wait_s
    try:
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            if (environment := process.environ()) or time.monotonic() >= until:
                return environment.get(_TOKEN) == token
            time.sleep(0.005)  # its new environment is not laid out yet, its old one gone
    except (psutil.Error, OSError):
        return False
    return False


def _processes(token: str) -> Iterator[psutil.Process]:
    """Every process that carries the token, also those that left the job's session."""
    import psutil

    for process in psutil.process_iter():
        if process.pid != os.getpid() and _has_token(process.pid, token, wait_s=0):
            yield process


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap() -> None:
    _started[:] = [one for one in _started if one.poll() is None]
