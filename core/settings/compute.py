"""Settings of where long work runs: this machine, Slurm, Kubernetes, Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from .part import SettingsPart


class SlurmSettings(SettingsPart):
    """How jobs are put to a Slurm cluster; what is empty, the cluster decides."""

    partition: str | None = Field(None, min_length=1, description="Partition that jobs go to.")
    account: str | None = Field(None, min_length=1, description="Account that jobs are charged to.")
    walltime_minutes: int | None = Field(None, ge=1, description="Minutes a job may run.")
    memory_gb: float | None = Field(None, gt=0, description="Memory of a job in GB.")
    options: tuple[str, ...] = Field(
        (), description="More options of sbatch, each as one word: --qos=high, --constraint=a100."
    )
    shared_folder: Path | None = Field(
        None, description="Folder that every node sees, for jobs of a workspace that they do not see."
    )
    timeout_s: float = Field(30, gt=0, description="Seconds the controller may take to reply.")
    lost_after_s: float = Field(
        120, ge=0, description="Seconds after which a job the controller no longer knows counts as lost."
    )


class ClusterSettings(SettingsPart):
    """Which Kubernetes cluster, and which namespace of it."""

    kubeconfig: Path | None = Field(
        None,
        description="File of clusters and credentials; empty: KUBECONFIG, ~/.kube/config, or the service "
        "account of the pod this runs in.",
    )
    context: str | None = Field(
        None, min_length=1, description="Context of that file; empty: the one that is current there."
    )
    namespace: str | None = Field(
        None, min_length=1, description="Namespace; empty: the context's, else default."
    )
    version: str | None = Field(
        None,
        pattern=r"^1\.\d+$",
        description="Version of Kubernetes that manifests are checked for, as 1.34; empty: the cluster's.",
    )
    timeout_s: float = Field(20, gt=0, description="Seconds the cluster's API may take to reply.")


class KubernetesSettings(ClusterSettings):
    """How jobs are put to a Kubernetes cluster."""

    kind: Literal["Job", "TrainJob"] = Field(
        "Job", description="What runs a job: a Job, or a TrainJob of Kubeflow Trainer."
    )
    runtime: str = Field(
        "torch-distributed", min_length=1, description="ClusterTrainingRuntime that TrainJobs refer to."
    )
    image: str | None = Field(
        None, min_length=1, description="Container image with bash and this version of Opswright."
    )
    python: str = Field("python", min_length=1, description="Python of the image.")
    claim: str | None = Field(
        None, min_length=1, description="PersistentVolumeClaim that pods and this machine share."
    )
    claim_folder: str = Field("", description="Folder of the claim that is mounted; empty: all of it.")
    shared_folder: Path | None = Field(None, description="Where that folder of the claim is on this machine.")
    mount_path: Path | None = Field(
        None, description="Where pods see it; empty: under the same path as this machine."
    )
    service_account: str | None = Field(None, min_length=1, description="Service account of the pods.")
    image_pull_secrets: tuple[str, ...] = Field((), description="Secrets by which the image is pulled.")
    secrets: dict[str, str] = Field(
        {}, description="Environment variables from Secrets of the namespace: NAME = 'secret/key'."
    )
    node_selector: dict[str, str] = Field({}, description="Labels of the nodes that pods may run on.")
    tolerations: tuple[dict[str, str | int], ...] = Field(
        (), description="Taints that pods tolerate, each as in a manifest: key, operator, value, effect."
    )
    priority_class: str | None = Field(None, min_length=1, description="Priority class of the pods.")
    queue: str | None = Field(None, min_length=1, description="Local queue of Kueue that admits the jobs.")
    gpu_resource: str = Field("nvidia.com/gpu", min_length=1, description="Name of a GPU as a resource.")
    memory_gb: float | None = Field(None, gt=0, description="Memory of a job in GB.")
    walltime_minutes: int | None = Field(
        None, ge=1, description="Minutes a job may take from its start, with the time its pod waits."
    )
    user: int | None = Field(
        None, ge=0, description="User id of the pods; empty: of whoever runs Opswright, whose files they are."
    )
    restart_evicted: bool = Field(
        True, description="Start a job again whose pod was evicted, preempted or lost with its node."
    )
    keep_hours: float = Field(
        48, ge=0, description="Hours after which Kubernetes removes a job that ended; its files stay."
    )
    give_up_minutes: float = Field(
        10, ge=0, description="Minutes after which a pod that cannot start (image, secret) counts as failed."
    )
    lost_after_s: float = Field(
        30, ge=0, description="Seconds after which a job that the cluster no longer has counts as lost."
    )


class RaySettings(SettingsPart):
    """On which Ray cluster rows are judged and compared."""

    address: str | None = Field(
        None,
        min_length=1,
        description="host:port of the head of a cluster; empty: one of this machine, started for the step.",
    )
    python: Path | None = Field(
        None, description="Python with what requirements-ray.txt names; empty: .venv-ray/bin/python."
    )
    shared_folder: Path | None = Field(
        None, description="Folder that every node sees; empty: the workspace, which then they must see."
    )
    cpus: int = Field(2, ge=1, le=1024, description="CPUs of a cluster of this machine.")
    rows_a_part: int = Field(
        10_000, ge=1, description="Rows that a worker gets at once; what is done is kept by parts."
    )


class ComputeSettings(SettingsPart):
    """Where long work runs."""

    backend: str = Field(
        "local",
        min_length=1,
        description="Compute backend: local, slurm, kubernetes, or an installed one.",
    )
    curate: Literal["local", "ray"] = Field(
        "local", description="Where rows are judged and compared: this machine, or a Ray cluster."
    )
    slurm: SlurmSettings = SlurmSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    ray: RaySettings = RaySettings()

    def limit_minutes(self, backend: str) -> int | None:
        """Minutes that a job of a backend may run; None where nothing limits it."""
        clusters: dict[str, SlurmSettings | KubernetesSettings] = {
            "slurm": self.slurm,
            "kubernetes": self.kubernetes,
        }
        return clusters[backend].walltime_minutes if backend in clusters else None

    @property
    def shared_folders(self) -> tuple[Path, ...]:
        """The folders in which jobs may run besides the workspace."""
        folders = (self.slurm.shared_folder, self.kubernetes.shared_folder)
        return tuple(folder for folder in folders if folder is not None)
