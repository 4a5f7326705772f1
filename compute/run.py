"""Runs one job of a step from submission to outputs, or attaches to the one that an earlier attempt left.

The step's own process may die at any instant: the job goes on, and whoever runs the step again finds it by
the handle the ledger holds or, when it died before that was written, by the job's key.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..core.contract import JobHandle, StepContext
from ..core.errors import BackendError, HeldError, IntegrityError, OpswrightError
from .backends import open_compute
from .folder import GRACE_S, JobFolder
from .job import Changes, Compute, Job, JobState, JobStatus, NoChanges, TellsChanges, check_nodes

_LOOK_S = 0.25  # between two looks at what the job writes
_SOONEST_S = 0.5  # between two looks at the job itself, whatever happens to it
_PATIENCE = 0.1  # a job is polled after a tenth of the time it has taken so far
_PATIENCE_TOLD = 0.5  # after half of it, where changes are told: a proxy on the way may hold them back
_END_S = GRACE_S + 15.0
_NOISE = ("warning", "failed to load", "skipping import", "[rank", "user warning")


class JobFailedError(BackendError):
    """A job that was submitted and did not succeed; `status` says how it ended."""

    def __init__(self, message: str, log: Path, status: JobStatus) -> None:
        super().__init__(message, log)
        self.status = status


@dataclass(frozen=True)
class JobResult:
    """A job that succeeded, and the folder its outputs are in."""

    handle: JobHandle
    status: JobStatus
    folder: Path
    attached: bool  # whether an earlier attempt of the step submitted it


class Watcher(Protocol):
    """Looks at what a job writes while it runs."""

    def look(self, folder: Path) -> None:
        """Called a few times a second, and once more at the end, with the folder the job runs in.

        A member of the error family that it raises ends the job.
        """


class NoWatcher:
    """Looks at nothing."""

    def look(self, folder: Path) -> None:
        """Nothing."""


def run_job(
    ctx: StepContext,
    job: Job,
    backend: Compute,
    *,
    prepare: Callable[[], None] = lambda: None,
    watcher: Watcher | None = None,
) -> JobResult:
    """Carry a job out and give its result; attached to, not started again, when it was submitted before.

    `prepare` lays out the job's folder and is called before a submission only. A step that is stopped, or out
    of time, cancels the job; a process that is killed leaves it running. JobFailedError when the job did not
    succeed: it is told once, and the next call submits a new job.
    """
    handle, backend = _attach(ctx, job, backend)
    attached = handle is not None
    try:
        if handle is None:
            ctx.check()
            check_nodes(backend, job.resources.nodes)
            prepare()
            handle = backend.submit(_labelled(ctx, job))
            ctx.submitted(handle)
            ctx.log(f"{_name(handle)} was submitted: {job.name}")
        status = _follow(ctx, handle, backend, watcher or NoWatcher())
    except (OpswrightError, KeyboardInterrupt) as error:
        if handle is None:
            raise
        fate = _cancel(handle, backend)
        if isinstance(error, HeldError):
            raise type(error)(f"{error} {_name(handle).capitalize()} {fate}.") from error
        ctx.log(f"{_name(handle)} {fate}")
        raise
    if status.state is not JobState.SUCCEEDED:
        raise _failure(handle, backend, status)
    return JobResult(handle, status, backend.collect(handle), attached)


def _labelled(ctx: StepContext, job: Job) -> Job:
    labels = {"run": ctx.run_id, "step": ctx.step_id, "plan": ctx.plan_id}
    return job.model_copy(update={"labels": {key: value for key, value in labels.items() if value}})


def run_folder(handle: JobHandle) -> Path:
    """The folder a job runs in."""
    return JobFolder.of(handle).path.parent


def _attach(ctx: StepContext, job: Job, backend: Compute) -> tuple[JobHandle | None, Compute]:
    """The job that an earlier attempt submitted, with the backend that has it."""
    if ctx.job is not None:
        _check_place(ctx, job, ctx.job)
        if ctx.job.backend != backend.name:  # the setting changed since
            backend = open_compute(ctx.job.backend, ctx.settings)
        handle = None if JobFolder.of(ctx.job).is_closed else ctx.job
        if handle is None:
            ctx.log(f"{_name(ctx.job)} is over; a new one is submitted")
    elif (handle := backend.find(job)) is not None:
        ctx.submitted(handle)
    if handle is not None:
        ctx.log(f"attached to {_name(handle)}, which an earlier attempt submitted")
    return handle, backend


def _check_place(ctx: StepContext, job: Job, handle: JobHandle) -> None:
    """IntegrityError for a handle that leads anywhere but to an attempt of this very job."""
    places = [folder.resolve() for folder in (job.folder, *ctx.settings.compute.shared_folders)]
    state = JobFolder.of(handle).path
    if state.is_symlink() or not any(state.resolve().is_relative_to(place) for place in places):
        raise IntegrityError(
            f"the recorded job {handle.id} lies in {state}, which is no folder of step {ctx.step_id}. The "
            "record was forged: see `opswright audit verify`."
        )


def _follow(ctx: StepContext, handle: JobHandle, backend: Compute, watcher: Watcher) -> JobStatus:
    """Look at a job until it ended: when the backend tells that something happened, and now and then."""
    folder = run_folder(handle)
    began = time.monotonic()
    said = JobStatus(state=JobState.RUNNING)
    with closing(backend.changes(handle) if isinstance(backend, TellsChanges) else NoChanges()) as changes:
        while True:
            status = backend.poll(handle)
            watcher.look(folder)
            if status.state.is_final:
                return status
            _say(ctx, handle, said, status)
            said = status
            looked = time.monotonic()
            while not _is_due(looked - began, time.monotonic() - looked, backend, changes):
                ctx.check()
                ctx.cancelled.wait(min(_LOOK_S, backend.poll_s[0]))
                watcher.look(folder)
            ctx.check()


def _is_due(taken_s: float, waited_s: float, backend: Compute, changes: Changes) -> bool:
    """Whether a job is to be looked at again: seldom while changes are told, less and less often without."""
    (first_s, most_s), patience = backend.poll_s, _PATIENCE
    if changes.is_alive and isinstance(backend, TellsChanges):
        most_s, patience = backend.look_s, _PATIENCE_TOLD
    if waited_s >= min(_SOONEST_S, first_s) and changes.happened():
        return True
    return waited_s >= min(most_s, max(first_s, patience * taken_s))


def _say(ctx: StepContext, handle: JobHandle, before: JobStatus, now: JobStatus) -> None:
    """Tell a person what changed since the last look."""
    if now.restarts > before.restarts:
        ctx.log(f"{_name(handle)} was put back into the queue and started again (restart {now.restarts})")
    if (now.state, now.reason) == (before.state, before.reason):
        return
    if now.state is JobState.RUNNING and before.state is JobState.RUNNING:
        return  # the backend's own words for running
    parts = [f"{_name(handle)} is {now.state}" + (f" ({now.reason})" if now.reason else ""), now.message]
    ctx.log(". ".join(part for part in (*parts, now.remedy) if part))


def _failure(handle: JobHandle, backend: Compute, status: JobStatus) -> JobFailedError:
    """Close the job, end what it may have left behind, and say how it ended."""
    _end_quietly(handle, backend)
    state = JobFolder.of(handle)
    state.close()
    restarts = f" after {status.restarts} restarts" if status.restarts else ""
    said = last_lines(backend.logs(handle)) or "it said nothing"
    message = f"{_name(handle)} ({state.job.name}) {status.message}{restarts}: {said}"
    return JobFailedError(f"{message}\n{status.remedy}" if status.remedy else message, state.job.log, status)


def _cancel(handle: JobHandle, backend: Compute) -> str:
    """End a job of a step that ends, and say in words what became of it."""
    try:
        backend.cancel(handle)
        ended = _wait_for_end(handle, backend)
        backend.cancel(handle)  # what left the job's session
    except OpswrightError as failed:
        return f"could not be cancelled and may go on: {failed}"
    JobFolder.of(handle).close()
    return "was cancelled" if ended else "was told to end and has not ended yet"


def _wait_for_end(handle: JobHandle, backend: Compute) -> bool:
    until = time.monotonic() + _END_S
    wait_s = backend.poll_s[0]
    while not backend.poll(handle).state.is_final:
        if time.monotonic() > until:
            return False
        time.sleep(wait_s)
    return True


def _end_quietly(handle: JobHandle, backend: Compute) -> None:
    try:
        backend.cancel(handle)
    except OpswrightError:
        return  # the job is over; this was for what it may have left behind


def _name(handle: JobHandle) -> str:
    return f"job {handle.id} on {handle.backend}"


def last_lines(text: str, count: int = 3) -> str:
    """The last lines of a log that say something, joined by ' | '."""
    lines = [line.strip() for line in text.splitlines()]
    telling = [line for line in lines if line and not any(noise in line.lower() for noise in _NOISE)]
    return " | ".join(telling[-count:])
