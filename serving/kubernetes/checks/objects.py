"""Rules of ours for one object: what a cluster would run, and nobody wants, or what only these kinds have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ....compute.manifests import ManifestFault, path_of
from ..objects import Manifest
from .fault import differs

_MOST_BYTES = 1 << 20  # of a ConfigMap

Place = tuple[str | int, ...]
Found = tuple[Place, object, str]  # where, what stands there, what should


def faults_of_object(manifest: Manifest) -> list[ManifestFault]:
    """What is wrong with one object of a valid form, besides what `compute.manifests` finds."""
    found = list(_of_kind(manifest))
    pod, place = pod_of(manifest)
    if pod is not None:
        found += [(place + where, what, wanted) for where, what, wanted in _pod(pod)]
    return [ManifestFault(path_of(where), differs(what, wanted)) for where, what, wanted in found]


def pod_of(manifest: Manifest) -> tuple[Manifest | None, Place]:
    """A workload's pod specification and where it stands; None for what runs no pods."""
    if manifest["kind"] == "InferenceService":
        return manifest["spec"]["predictor"], ("spec", "predictor")
    template = manifest.get("spec", {}).get("template") if manifest["kind"] in ("Deployment", "Job") else None
    return (template["spec"], ("spec", "template", "spec")) if template else (None, ())


def _of_kind(manifest: Manifest) -> Iterator[Found]:
    kind, spec = manifest["kind"], manifest.get("spec", {})
    if kind == "ScaledObject":
        yield from _in_order(spec, "minReplicaCount", "maxReplicaCount")
    elif kind == "InferenceService":
        found = _in_order(spec["predictor"], "minReplicas", "maxReplicas")
        yield from ((("spec", "predictor", *where[1:]), what, wanted) for where, what, wanted in found)
    elif kind == "Deployment":
        yield from _runs_for_ever(spec)
    elif kind == "ConfigMap":
        size = sum(len(key) + len(value.encode()) for key, value in manifest.get("data", {}).items())
        if size > _MOST_BYTES:
            yield ("data",), f"{size} bytes", f"{_MOST_BYTES} bytes at most"


def _in_order(spec: Mapping[str, Any], least: str, most: str) -> Iterator[Found]:
    if spec.get(least, 1) > spec.get(most, spec.get(least, 1)):
        yield ("spec", most), spec[most], f"{least} ({spec[least]}) or more"


def _runs_for_ever(spec: Mapping[str, Any]) -> Iterator[Found]:
    policy = spec["template"]["spec"].get("restartPolicy", "Always")
    if policy != "Always":
        yield ("spec", "template", "spec", "restartPolicy"), policy, "Always: a Deployment runs for ever"


def _pod(pod: Mapping[str, Any]) -> Iterator[Found]:
    """Nothing that runs with more rights than it needs, and what is named twice."""
    yield from _pod_rights(pod)
    for group in ("initContainers", "containers"):
        for number, container in enumerate(pod.get(group, [])):
            found = [*_container(container)]
            yield from (((group, number, *where), what, wanted) for where, what, wanted in found)


def _pod_rights(pod: Mapping[str, Any]) -> Iterator[Found]:
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or security.get("runAsUser", 1) == 0:
        yield (
            ("securityContext", "runAsNonRoot"),
            security.get("runAsNonRoot"),
            "true, with a user that is not 0",
        )
    if security.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield ("securityContext", "seccompProfile"), security.get("seccompProfile"), "type RuntimeDefault"
    if pod.get("automountServiceAccountToken") is not False:
        yield ("automountServiceAccountToken",), pod.get("automountServiceAccountToken"), "false"
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield (name,), True, "false"
    for number, volume in enumerate(pod.get("volumes", [])):
        if "hostPath" in volume:
            yield ("volumes", number, "hostPath"), volume["hostPath"], "no folder of the node"


def _container(container: Mapping[str, Any]) -> Iterator[Found]:
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        yield ("securityContext", "allowPrivilegeEscalation"), security, "false, and not privileged"
    if "ALL" not in security.get("capabilities", {}).get("drop", []):
        yield ("securityContext", "capabilities"), security.get("capabilities"), "drop: [ALL]"
    if not str(container.get("image", "")).strip():
        yield ("image",), container.get("image"), "the name of an image"
    for field in ("env", "ports"):
        given = [one.get("name") for one in container.get(field, [])]
        if twice := {one for one in given if given.count(one) > 1}:
            yield (field,), sorted(map(str, twice)), "a name of its own for each"
