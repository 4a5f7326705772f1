"""A job, how it stands, and what a compute backend does with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..core.contract import Finding, JobHandle
from ..core.errors import AskError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Resources(BaseModel):
    """What a job asks for; None leaves it to the backend."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: int = Field(1, ge=1, description="CPU cores of each node.")
    gpus: int = Field(0, ge=0, description="GPUs of each node.")
    nodes: int = Field(1, ge=1, description="Machines that run the command at once, each with its rank.")
    memory_gb: float | None = Field(None, gt=0, description="Memory of each node in GB.")
    walltime_minutes: float | None = Field(None, gt=0, description="Minutes after which it is ended.")
    partition: str | None = Field(None, min_length=1, description="Queue of a cluster.")


class Job(BaseModel):
    """A command, the folder it runs in, and what of that folder it reads and leaves.

    `key` makes submitting safe to repeat: of one key there is never more than one job at work. Inputs and
    outputs are files or folders relative to `folder`; a backend whose machines do not see the folder copies
    them. `environment` is added to the submitter's own and is kept on disk: no secrets. `labels` tell
    people who look at the scheduler which run and step it belongs to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)
    key: str = Field(min_length=1)
    command: tuple[str, ...] = Field(min_length=1)
    folder: Path
    log: Path
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    resources: Resources = Resources()
    environment: dict[str, str] = {}
    labels: dict[str, str] = {}

    @field_validator("folder", "log")
    @classmethod
    def _is_absolute(cls, path: Path) -> Path:
        """Whoever resumes may stand in another folder."""
        return path.absolute()

    @field_validator("inputs", "outputs")
    @classmethod
    def _stay_inside(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if outside := [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts]:
            raise ValueError(f"paths must lie inside the job's folder: {', '.join(outside)}")
        return names

    @field_validator("environment")
    @classmethod
    def _can_be_exported(cls, variables: dict[str, str]) -> dict[str, str]:
        if wrong := [name for name in variables if not _VARIABLE.fullmatch(name)]:
            raise ValueError(f"invalid environment variable names: {', '.join(wrong)}")
        return variables

    @field_validator("command")
    @classmethod
    def _has_no_nul(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if any("\0" in part for part in command):
            raise ValueError("a command holds no NUL byte")
        return command


class JobState(StrEnum):
    """How a job stands. `unknown` is not an end: the backend could not say."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """Whether the job will not change any more."""
        return self not in (JobState.PENDING, JobState.RUNNING, JobState.UNKNOWN)


class JobStatus(BaseModel):
    """What one look at a job found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: JobState
    reason: str = ""  # the backend's own word: TIMEOUT, NODE_FAIL, Priority
    message: str = ""  # for a person, to follow "job 12 on slurm"
    remedy: str = ""  # what a person can do about it
    exit_code: int | None = None
    restarts: int = 0
    seconds: float | None = None  # from the start of its last attempt to its end


class Compute(Protocol):
    """Runs jobs somewhere. Every call is short; nothing is kept in memory that a later process would need.

    A backend makes a job's state folder with `JobFolder.create`, starts `job.sh` in it wherever it runs, and
    names it in the handle's facts as `state`.
    """

    name: str
    poll_s: tuple[float, float]  # seconds between two looks at a job: at first, and at most

    def check(self, resources: Resources) -> Sequence[Finding]:
        """What pre-flight shows: where such a job would run, and what stands in its way."""

    def submit(self, job: Job) -> JobHandle:
        """Start or queue a job; NeedsError, AskError or BackendError when it was not taken."""

    def find(self, job: Job) -> JobHandle | None:
        """The job last submitted with this key, recorded or not, unless its end was reported.

        None also keeps a submission that is still under way from starting later. BackendError when that
        cannot be told now.
        """

    def poll(self, handle: JobHandle) -> JobStatus:
        """How the job stands; `unknown`, not an error, when the backend cannot be reached."""

    def logs(self, handle: JobHandle) -> str:
        """The end of what the job wrote to its standard output and error."""

    def cancel(self, handle: JobHandle) -> None:
        """Ask the whole job to end (SIGTERM, later SIGKILL); of one that ended, end what it left running.

        Returns at once. BackendError when the backend cannot be reached.
        """

    def collect(self, handle: JobHandle) -> Path:
        """The folder with the outputs of a job that succeeded; BackendError names those that are missing."""


@runtime_checkable
class ManyNodes(Protocol):
    """What a backend has besides, that can run one job on several machines."""

    most_nodes: int


def check_nodes(backend: Compute, nodes: int) -> None:
    """AskError when a backend cannot run a job on so many machines."""
    most = backend.most_nodes if isinstance(backend, ManyNodes) else 1
    if nodes > most:
        raise AskError(
            f"compute '{backend.name}' runs a job on {most} node{'s' if most > 1 else ''} as it is set, and "
            f"nodes is {nodes}. Set nodes={most}, or compute=kubernetes with "
            "OPSWRIGHT_COMPUTE__KUBERNETES__KIND=TrainJob."
        )


class Changes(Protocol):
    """Tells that something happened to a job, in the background; what, a look says."""

    @property
    def is_alive(self) -> bool:
        """Whether the next change would be told: while not, the job is looked at as often as without."""

    def happened(self) -> bool:
        """Whether anything may have happened since the last call."""

    def close(self) -> None:
        """End it."""


class NoChanges:
    """Of a backend that tells nothing by itself."""

    is_alive = False

    def happened(self) -> bool:
        """Nothing that is known of."""
        return False

    def close(self) -> None:
        """Nothing."""


@runtime_checkable
class TellsChanges(Protocol):
    """What a backend has besides, whose scheduler can be watched."""

    look_s: float  # between two looks at a job at most, while changes are told

    def changes(self, handle: JobHandle) -> Changes:
        """Begin to watch a job; nothing that keeps it from being watched is an error."""
