"""Copies a job's inputs to a folder its machines see, and its outputs back."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..core.contract import JobHandle
from ..core.files import sha256_json
from .folder import JobFolder
from .job import Job
from .local import require_outputs


def run_folder_of(job: Job, shared: Path | None) -> Path:
    """Where a job runs: its own folder, or one of its own in the shared folder, the same at every attempt."""
    if shared is None:
        return job.folder
    return shared.absolute() / f"{job.name}-{sha256_json(str(job.folder))[:16]}"


def stage(job: Job, folder: Path) -> None:
    """Copy the inputs there, links followed, over what an earlier attempt left."""
    if folder == job.folder:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in job.inputs:
        copy(job.folder / name, folder / name)


def bring_back(job: Job, folder: Path) -> None:
    """Copy the outputs from there."""
    if folder == job.folder:
        return
    for name in job.outputs:
        copy(folder / name, job.folder / name)


def collected(handle: JobHandle, outputs_s: float) -> Path:
    """The job's own folder with its outputs, to which a shared folder's are copied back.

    outputs_s: a network disk may show a file this much later. BackendError names those that are missing.
    """
    state = JobFolder.of(handle)
    job = state.job
    require_outputs(job, state.path.parent, outputs_s)
    bring_back(job, state.path.parent)
    return job.folder


def copy(source: Path, target: Path) -> None:
    """Put a copy of a file or folder in the place of whatever is there."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)
