"""The folder a job keeps its state in: what was submitted, and the status file that the job itself writes.

`<folder>/job-<key>-<attempt>/` lies in the folder the job runs in. A submission that crashed before anyone
recorded it is found again by this name.
"""

from __future__ import annotations

import signal
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ..core.contract import JobHandle
from ..core.errors import BackendError
from ..core.files import sha256_json, write_atomically
from .job import Job, JobState, JobStatus

SCRIPT = Path(__file__).with_name("job.sh")
GRACE_S = 20  # between SIGTERM and SIGKILL: to end a training step and save a checkpoint
NO_FOLDER = 78  # job.sh: the job's folder is not there
CLOSED = 79  # job.sh: the submitter gave the job up before it started
_TAIL_BYTES = 20_000


@dataclass(frozen=True)
class StatusFile:
    """What the job's own script last wrote."""

    id: str
    pid: int
    state: str  # running, exited
    exit_code: int | None
    why: str  # '', terminated, walltime
    restarts: int
    started: float
    ended: float | None

    def ended_as(self) -> JobStatus:
        """The status of a job whose script wrote how it ended."""
        code = self.exit_code if self.exit_code is not None else -1
        state, message, remedy = JobState.FAILED, f"ended with code {code}", ""
        if self.why == "walltime":
            message = "reached its time limit and was ended"
            remedy = "Set a longer walltime; what it saved until then is kept."
        elif self.why == "terminated":
            state, message = JobState.CANCELLED, "was stopped from outside (SIGTERM)"
        elif code == 0:
            state, message = JobState.SUCCEEDED, "succeeded"
        elif code == NO_FOLDER:
            message = "could not see its folder where it ran"
            remedy = "Put the workspace on a disk that every machine sees, or set a shared folder."
        elif code == CLOSED:
            state, message = JobState.CANCELLED, "had been given up before it started"
        elif code > 128:
            message = f"was killed by signal {code - 128}{_signal_name(code - 128)}"
        seconds = None if self.ended is None else round(self.ended - self.started, 3)
        return JobStatus(
            state=state,
            reason=self.why,
            message=message,
            remedy=remedy,
            exit_code=code,
            restarts=self.restarts,
            seconds=seconds,
        )


@dataclass(frozen=True)
class JobFolder:
    """One attempt's state folder."""

    path: Path

    @classmethod
    def of(cls, handle: JobHandle) -> JobFolder:
        """The folder a handle names."""
        return cls(Path(handle.facts["state"]))

    @classmethod
    def latest(cls, job: Job, folder: Path) -> JobFolder | None:
        """The last attempt that was made ready in `folder` for the job's key."""
        attempts = _attempts(job, folder)
        return cls(attempts[-1]) if attempts else None

    @classmethod
    def create(cls, job: Job, folder: Path) -> JobFolder:
        """Make the next attempt's folder ready; it gets its name when it is whole."""
        attempts = _attempts(job, folder)
        number = int(attempts[-1].name.rpartition("-")[2]) + 1 if attempts else 1
        path = folder / f"{_prefix(job)}{number}"
        new = folder / f".{path.name}.{uuid.uuid4().hex[:8]}"
        new.mkdir(parents=True)
        token = uuid.uuid4().hex
        variables = {**job.environment, "OPSWRIGHT_JOB_TOKEN": token}
        _write(new / "token", token + "\n")
        _write(new / "command", "".join(f"{part}\0" for part in job.command))
        _write(new / "environment", "".join(f"{name}={value}\0" for name, value in variables.items()))
        _write(new / "job.json", job.model_dump_json(indent=1))
        job.log.parent.mkdir(parents=True, exist_ok=True)
        new.rename(path)
        return cls(path)

    @property
    def token(self) -> str:
        """What tells this job from any other, wherever it is seen."""
        return (self.path / "token").read_text().strip()

    @property
    def job(self) -> Job:
        """The job that was submitted."""
        try:
            return Job.model_validate_json((self.path / "job.json").read_bytes())
        except (OSError, ValidationError) as error:
            raise BackendError(
                f"the job's folder {self.path} is gone or damaged: {error}. Run the step again."
            ) from error

    @property
    def is_closed(self) -> bool:
        """Whether nobody attaches to it any more: its end was reported, or it was given up."""
        return not self.path.is_dir() or (self.path / "closed").exists()

    def close(self) -> None:
        """Have nobody attach to it any more; a script that has not started yet will not do the work."""
        if self.path.is_dir():
            (self.path / "closed").touch()

    def reopen(self) -> None:
        """Take a close back, of a job whose script was past its look when it was closed."""
        (self.path / "closed").unlink(missing_ok=True)

    def handle(self) -> JobHandle | None:
        """The handle that was kept here when the backend took the job."""
        try:
            return JobHandle.model_validate_json((self.path / "handle.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def keep(self, handle: JobHandle) -> JobHandle:
        """Keep the handle beside the job, before anyone records it."""
        write_atomically(self.path / "handle.json", handle.model_dump_json().encode())
        return handle

    def status(self, rank: int = 0) -> StatusFile | None:
        """What the job last wrote on a node; None before it started, or when another job's file is there."""
        try:
            text = (self.path / (f"status.{rank}" if rank else "status")).read_text()
            found = dict(line.partition("=")[::2] for line in text.splitlines())
            if found["token"] != self.token:
                return None
            return StatusFile(
                id=found["id"],
                pid=int(found["pid"]),
                state=found["state"],
                exit_code=int(found["rc"]) if found["rc"] else None,
                why=found["why"],
                restarts=int(found["restarts"]),
                started=float(found["started"]),
                ended=float(found["ended"]) if found["ended"] else None,
            )
        except (OSError, KeyError, ValueError):
            return None

    def log_tail(self, rank: int = 0) -> str:
        """The end of the job's log on a node; empty when it wrote nothing."""
        try:
            log = self.job.log
            with (log.with_name(f"{log.name}.{rank}") if rank else log).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
                return file.read().decode(errors="replace")
        except OSError:
            return ""


def missing_inputs(job: Job) -> Sequence[str]:
    """The inputs that do not exist."""
    return [name for name in job.inputs if not (job.folder / name).exists()]


def _prefix(job: Job) -> str:
    return f"job-{sha256_json(job.key)[:12]}-"


def _attempts(job: Job, folder: Path) -> list[Path]:
    prefix = _prefix(job)
    found = [
        path
        for path in folder.glob(f"{prefix}*")
        if path.name.removeprefix(prefix).isdecimal() and not path.is_symlink()
    ]
    return sorted(found, key=lambda path: int(path.name.removeprefix(prefix)))


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return ""
    return f" ({name}; out of memory, or ended by hand)" if name == "SIGKILL" else f" ({name})"
