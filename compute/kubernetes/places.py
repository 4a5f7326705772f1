"""Where a job's folder lies on the volume that this machine and the pods share, under either path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import AskError, NeedsError
from ..job import Job
from ..staging import run_folder_of

if TYPE_CHECKING:
    from ...core.settings.compute import KubernetesSettings


@dataclass(frozen=True)
class SharedVolume:
    """A folder of a claim: its path here, and its path in the pods."""

    claim: str
    claim_folder: str
    here: Path
    in_pod: Path

    @classmethod
    def of(cls, settings: KubernetesSettings) -> SharedVolume:
        """The volume that the settings name; NeedsError that says what of it is missing."""
        if settings.claim is None or settings.shared_folder is None:
            raise NeedsError(
                "jobs on Kubernetes work on a volume that their pods and this machine see, and none is set. "
                "Set OPSWRIGHT_COMPUTE__KUBERNETES__CLAIM to a PersistentVolumeClaim and "
                "OPSWRIGHT_COMPUTE__KUBERNETES__SHARED_FOLDER to where it is mounted here."
            )
        here = settings.shared_folder.absolute()
        if not here.is_dir():
            raise NeedsError(
                f"compute.kubernetes.shared_folder {here} is no folder of this machine. Mount the claim's "
                "volume there (NFS, EFS, CephFS, or the disk itself on a cluster of one node)."
            )
        return cls(settings.claim, settings.claim_folder, here, settings.mount_path or here)

    def run_folder(self, job: Job) -> Path:
        """Where a job runs, as seen here: its own folder where pods see that by the same path, else a copy.

        It depends on no file, so that a later attempt finds what an earlier one left.
        """
        same = self.here == self.in_pod
        if same and job.folder.is_relative_to(self.here) and job.log.is_relative_to(self.here):
            return job.folder
        return run_folder_of(job, self.here)

    def pod_path(self, path: Path) -> str:
        """The path under which pods see a path on the volume."""
        return str(self.in_pod / path.relative_to(self.here))

    def require_seen(self, job: Job) -> None:
        """AskError when a link among the inputs of a job that runs in place leads off the volume."""
        root = self.here.resolve()
        for name in job.inputs:
            for path in chain([job.folder / name], _within(job.folder / name)):
                if path.is_symlink() and not path.resolve().is_relative_to(root):
                    raise AskError(
                        f"job {job.name} reads {path}, a link to {path.resolve()}, which pods do not see: it "
                        f"is not below compute.kubernetes.shared_folder {self.here}. Move it there, or set "
                        "compute.kubernetes.mount_path to another path than this machine's: inputs are then "
                        "copied."
                    )


def _within(folder: Path) -> Iterator[Path]:
    """Everything below a folder, through no link but the folder itself."""
    for root, folders, files in os.walk(folder):
        yield from (Path(root, name) for name in (*folders, *files))
