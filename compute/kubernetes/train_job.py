"""The schema of what is written of a TrainJob, which Kubernetes itself does not publish.

Fields and types are those of kubeflow_trainer_api 2.3.0 (Apache-2.0; trainer.kubeflow.org/v1alpha1), of which
only those that are emitted are listed: a key that is not here is a fault.
"""

from __future__ import annotations

from typing import Any

from ..manifests import Schemas

_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_OBJECTS = {"type": "array", "items": {"type": "object"}}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_METADATA = _object(labels=_TEXTS, annotations=_TEXTS)
_CONTAINER_PATCH = _object(
    ("name",), name=_TEXT, env=_OBJECTS, volumeMounts=_OBJECTS, securityContext={"type": "object"}
)
_POD_PATCH = _object(
    affinity={"type": "object"},
    containers={"type": "array", "items": _CONTAINER_PATCH},
    imagePullSecrets=_OBJECTS,
    initContainers={"type": "array", "items": _CONTAINER_PATCH},
    nodeSelector=_TEXTS,
    schedulingGates=_OBJECTS,
    securityContext={"type": "object"},
    serviceAccountName=_TEXT,
    terminationGracePeriodSeconds={"type": "integer"},
    tolerations=_OBJECTS,
    volumes=_OBJECTS,
)
_POD_TEMPLATE = _object(metadata=_METADATA, spec=_POD_PATCH)
_JOB_TEMPLATE = _object(metadata=_METADATA, spec=_object(template=_POD_TEMPLATE))
_REPLICATED = _object(("name",), name=_TEXT, template=_JOB_TEMPLATE)
_JOB_SET = _object(metadata=_METADATA, spec=_object(replicatedJobs={"type": "array", "items": _REPLICATED}))
_RUNTIME_PATCH = _object(
    ("manager",),
    manager={"type": "string", "pattern": r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$"},
    trainingRuntimeSpec=_object(template=_JOB_SET),
)
_TRAINER = _object(
    command={"type": "array", "items": {"type": "string"}},
    args={"type": "array", "items": {"type": "string"}},
    env=_OBJECTS,
    image=_TEXT,
    numNodes={"type": "integer", "minimum": 1},
    numProcPerNode={"type": "integer", "minimum": 1},
    resourcesPerNode=_object(requests=_TEXTS, limits=_TEXTS),
)
_SPEC = _object(
    ("runtimeRef",),
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    runtimePatches={"type": "array", "items": _RUNTIME_PATCH},
    runtimeRef=_object(("name",), name=_TEXT, kind=_TEXT, apiGroup=_TEXT),
    suspend={"type": "boolean"},
    trainer=_TRAINER,
)

SCHEMAS: Schemas = {
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion=_TEXT,
        kind=_TEXT,
        metadata={"type": "object"},
        spec=_SPEC,
    )
}
