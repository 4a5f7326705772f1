"""The manifests of a job: a Job of Kubernetes, or a TrainJob of Kubeflow Trainer.

Both start `job.sh` in the state folder of the attempt, as every backend does. Nothing a user wrote is part of
a command line, and no secret is part of a manifest: what a container's environment needs is in files beside
the job, or referred to by the name of a Secret.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import AskError, NeedsError
from ..folder import GRACE_S
from ..job import Job, Resources
from ..manifests import is_label_value
from .client import Json
from .places import SharedVolume

if TYPE_CHECKING:
    from ...core.settings.compute import KubernetesSettings

TOKEN = "opswright/token"  # annotation: what tells this job from any other
FOLDER = "opswright/folder"  # annotation: for people who look for its files
CONTAINER = "node"  # as the runtimes of Kubeflow Trainer call theirs
_LABELS = {"app.kubernetes.io/managed-by": "opswright", "app.kubernetes.io/component": "job"}
_QUEUE = "kueue.x-k8s.io/queue-name"
_SECRET = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?)/([-._a-zA-Z0-9]+)")
_KILL_S = 10  # to write the last status once the job's processes were killed


@dataclass(frozen=True)
class JobRequest:
    """What a manifest is made from: identity, the folders as seen here, and what is asked for."""

    name: str
    token: str
    state: Path
    folder: Path
    log: Path
    resources: Resources
    labels: Mapping[str, str]
    grace_s: int = GRACE_S


def manifest_of(request: JobRequest, settings: KubernetesSettings, namespace: str) -> Json:
    """The manifest of the kind that settings ask for."""
    make = job_manifest if settings.kind == "Job" else train_job_manifest
    return make(request, settings, namespace)


def job_manifest(request: JobRequest, settings: KubernetesSettings, namespace: str) -> Json:
    """The Job: one pod that is never restarted in place, and made anew when it was taken away."""
    volume = SharedVolume.of(settings)
    spec: Json = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": round(settings.keep_hours * 3600),
        "template": {
            "metadata": {"labels": _labels(request), "annotations": _annotations(request)},
            "spec": _pod(request, settings, volume),
        },
    }
    if (limit_s := _limit_s(request, settings)) is not None:
        spec["activeDeadlineSeconds"] = limit_s
    if settings.restart_evicted:  # by a pod that is made when the old one is over: never two in one folder
        condition = {"type": "DisruptionTarget", "status": "True"}
        spec["podFailurePolicy"] = {"rules": [{"action": "Ignore", "onPodConditions": [condition]}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(request, settings, namespace),
        "spec": spec,
    }


def train_job_manifest(request: JobRequest, settings: KubernetesSettings, namespace: str) -> Json:
    """The TrainJob: the same command as the trainer of a runtime, whose pods get the volume."""
    if settings.priority_class is not None:
        raise AskError(
            "a TrainJob takes no priority_class: set it in the runtime, or compute.kubernetes.kind=Job."
        )
    volume = SharedVolume.of(settings)
    container = _container(request, settings, volume)
    pod = _pod(request, settings, volume)
    patched = {name: pod[name] for name in _PATCHED if name in pod}
    mounts = {"volumeMounts": container["volumeMounts"], "securityContext": container["securityContext"]}
    pod_patch = {**patched, "containers": [{"name": CONTAINER, **mounts}]}
    metadata = {"labels": _labels(request), "annotations": _annotations(request)}
    replicated = {
        "name": CONTAINER,
        "template": {"spec": {"template": {"metadata": metadata, "spec": pod_patch}}},
    }
    spec: Json = {
        "runtimeRef": {
            "apiGroup": "trainer.kubeflow.org",
            "kind": "ClusterTrainingRuntime",
            "name": settings.runtime,
        },
        "trainer": {
            "image": container["image"],
            "command": container["command"],
            "env": container["env"],
            "numNodes": request.resources.nodes,
            "numProcPerNode": max(1, request.resources.gpus),
            "resourcesPerNode": container["resources"],
        },
        "runtimePatches": [
            {
                "manager": "opswright.io/compute",
                "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [replicated]}}},
            }
        ],
    }
    if (limit_s := _limit_s(request, settings)) is not None:
        spec["activeDeadlineSeconds"] = limit_s
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": _metadata(request, settings, namespace),
        "spec": spec,
    }


_PATCHED = (
    *("volumes", "nodeSelector", "tolerations", "serviceAccountName", "imagePullSecrets", "securityContext"),
    "terminationGracePeriodSeconds",
)


def _pod(request: JobRequest, settings: KubernetesSettings, volume: SharedVolume) -> Json:
    user = os.getuid() if settings.user is None else settings.user
    pod: Json = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": request.grace_s + _KILL_S,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsUser": user,
            "runAsNonRoot": user != 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(request, settings, volume)],
        "volumes": [
            {"name": "work", "persistentVolumeClaim": {"claimName": volume.claim}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},  # 64 MB else: too little for loaders and NCCL
        ],
    }
    optional = {
        "serviceAccountName": settings.service_account,
        "priorityClassName": settings.priority_class,
        "nodeSelector": dict(settings.node_selector),
        "tolerations": [dict(one) for one in settings.tolerations],
        "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
    }
    return {**pod, **{name: value for name, value in optional.items() if value}}


def _container(request: JobRequest, settings: KubernetesSettings, volume: SharedVolume) -> Json:
    if settings.image is None:
        raise NeedsError(
            "jobs on Kubernetes run in a container image, and none is set. Set "
            "OPSWRIGHT_COMPUTE__KUBERNETES__IMAGE to one that has bash and this version of Opswright."
        )
    state, folder, log = (volume.pod_path(path) for path in (request.state, request.folder, request.log))
    work = {"name": "work", "mountPath": str(volume.in_pod)}
    if settings.claim_folder:
        work["subPath"] = settings.claim_folder
    return {
        "name": CONTAINER,
        "image": settings.image,
        "command": ["bash", f"{state}/job.sh", state, folder, "0", str(request.grace_s), log],
        "env": _environment(settings),
        "resources": _resources(request.resources, settings),
        "volumeMounts": [
            work,
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _environment(settings: KubernetesSettings) -> list[Json]:
    """Which pod it is, a home that any user may write to, and references to Secrets."""
    uid = {"fieldRef": {"fieldPath": "metadata.uid"}}
    found: list[Json] = [{"name": "OPSWRIGHT_JOB_ID", "valueFrom": uid}, {"name": "HOME", "value": "/tmp"}]
    for variable, place in sorted(settings.secrets.items()):
        where = _SECRET.fullmatch(place)
        if where is None:
            raise AskError(
                f"invalid secret of {variable} in compute.kubernetes.secrets: expected 'secret/key', the "
                "name of a Secret of the namespace and a key of it. Values do not belong into settings."
            )
        reference = {"secretKeyRef": {"name": where[1], "key": where[3]}}
        found.append({"name": variable, "valueFrom": reference})
    return found


def _resources(asked: Resources, settings: KubernetesSettings) -> Json:
    memory_gb = asked.memory_gb or settings.memory_gb
    memory = {"memory": f"{math.ceil(memory_gb * 1000)}M"} if memory_gb else {}
    gpus = {settings.gpu_resource: str(asked.gpus)} if asked.gpus else {}
    limits = {**memory, **gpus}
    return {
        "requests": {"cpu": str(asked.cpus), **memory, **gpus},
        **({"limits": limits} if limits else {}),
    }


def _limit_s(request: JobRequest, settings: KubernetesSettings) -> int | None:
    minutes = request.resources.walltime_minutes or settings.walltime_minutes
    return None if minutes is None else max(1, math.ceil(minutes * 60))


def _metadata(request: JobRequest, settings: KubernetesSettings, namespace: str) -> Json:
    queue = request.resources.partition or settings.queue
    return {
        "name": request.name,
        "namespace": namespace,
        "labels": {**_labels(request), **({_QUEUE: queue} if queue else {})},
        "annotations": _annotations(request),
    }


def _labels(request: JobRequest) -> dict[str, str]:
    """Ours and those of the job that a label can hold; the others are annotations."""
    fitting = {key: value for key, value in request.labels.items() if is_label_value(value)}
    return {**_LABELS, **{f"opswright/{key}": value for key, value in fitting.items()}}


def _annotations(request: JobRequest) -> dict[str, str]:
    others = {key: value for key, value in request.labels.items() if not is_label_value(value)}
    return {
        TOKEN: request.token,
        FOLDER: str(request.folder),
        **{f"opswright/{key}": value for key, value in others.items()},
    }


def pod_selector(kind: str, name: str) -> str:
    """The labels by which the pods of a Job or TrainJob are found."""
    if kind == "Job":
        return f"job-name={name}"
    return f"jobset.sigs.k8s.io/jobset-name={name}"


def object_name(job: Job, token: str) -> str:
    """A name that no other attempt has, and this one finds again; a node's, made of it, has 63 characters."""
    return f"opswright-{job.name[:27].rstrip('-')}-{token[:12]}"


def token_of(thing: Json) -> str:
    """The token of the job that an object belongs to; empty for none of ours."""
    return str((thing["metadata"].get("annotations") or {}).get(TOKEN, ""))
