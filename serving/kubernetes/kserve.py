"""Triton as a KServe InferenceService, in place of a Deployment, its Service and its autoscaler."""

from __future__ import annotations

from . import triton_pods
from .objects import Manifest, manifest
from .release import ClusterRelease
from .shape import ClusterShape

_STANDARD = {"serving.kserve.io/deploymentMode": "RawDeployment"}  # a Deployment, without Knative


def inference_service(release: ClusterRelease, shape: ClusterShape) -> dict[str, Manifest]:
    """The InferenceService by file name: the same pod, which KServe runs and scales by CPU."""
    pod = triton_pods.triton_pod(release, shape)
    server, *others = pod.pop("containers")
    most = shape.triton.replicas if shape.scaling == "none" else shape.triton.max_replicas
    predictor = {
        "minReplicas": shape.triton.replicas,
        "maxReplicas": most,
        "scaleMetric": "cpu",
        "scaleTarget": 70,
        "containers": [{**server, "name": "kserve-container"}, *others],
        **pod,
    }
    found = manifest(
        release,
        "InferenceService",
        triton_pods.PART,
        {"predictor": predictor},
        api="serving.kserve.io/v1beta1",
        of_release=True,
    )
    found["metadata"]["annotations"] |= _STANDARD
    return {"triton-inference-service": found}
