"""Rules for one object: what the API's schema takes and a cluster refuses, or runs in a way nobody wants."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..objects import Manifest
from ..quantities import as_number
from .fault import FileFault, dotted, shown

_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY = re.compile(r"([a-z0-9][-a-z0-9.]{0,252}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_MOST_BYTES = 1 << 20  # of a ConfigMap
_LONGEST_NAME = 63

Place = tuple[str | int, ...]
Found = tuple[Place, object, str]  # where, what stands there, what should


def faults_of_object(file: str, manifest: Manifest) -> list[FileFault]:
    """What is wrong with one object of a valid form."""
    found = [*_metadata(manifest), *_numbers(manifest), *_of_kind(manifest)]
    pod, place = pod_of(manifest)
    if pod is not None:
        found += [(place + where, what, wanted) for where, what, wanted in _pod(pod)]
    return [FileFault(file, dotted(where), shown(what), wanted) for where, what, wanted in found]


def pod_of(manifest: Manifest) -> tuple[Manifest | None, Place]:
    """A workload's pod specification and where it stands; None for what runs no pods."""
    if manifest["kind"] == "InferenceService":
        return manifest["spec"]["predictor"], ("spec", "predictor")
    template = manifest.get("spec", {}).get("template") if manifest["kind"] in ("Deployment", "Job") else None
    return (template["spec"], ("spec", "template", "spec")) if template else (None, ())


def _metadata(manifest: Manifest) -> Iterator[Found]:
    metadata = manifest["metadata"]
    name = metadata.get("name", "")
    is_service = manifest["kind"] == "Service"
    if not (_SERVICE if is_service else _SUBDOMAIN).fullmatch(name) or len(name) > _LONGEST_NAME:
        yield ("metadata", "name"), name, "lower-case letters, digits and inner hyphens, at most 63"
    template = manifest.get("spec", {}).get("template", {}).get("metadata", {})
    places: list[tuple[Place, Mapping[str, str]]] = [
        (("metadata", "labels"), metadata.get("labels", {})),
        (("spec", "template", "metadata", "labels"), template.get("labels", {})),
    ]
    for place, labels in places:
        for key, value in labels.items():
            if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
                yield (*place, key), value, "a label: 63 letters, digits, '-', '_' or '.' at most"


def _numbers(manifest: Manifest) -> Iterator[Found]:
    """Ports, protocols and quantities, wherever they stand."""
    for place, value in _leaves(manifest.get("spec", {}), ("spec",)):
        last = place[-1]
        if last in ("port", "containerPort", "targetPort", "hostPort") and isinstance(value, int):
            if not 0 < value < 65536:
                yield place, value, "a port, 1 to 65535"
        elif last == "protocol" and value not in _PROTOCOLS:
            yield place, value, f"one of {', '.join(_PROTOCOLS)}"
        elif _is_quantity(place):
            try:
                as_number(str(value))
            except ValueError as error:
                yield place, value, str(error)


def _is_quantity(place: Place) -> bool:
    return place[-1] == "sizeLimit" or (len(place) > 2 and place[-3] == "resources")


def _leaves(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """Each plain value with its place."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _leaves(one, (*place, key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _leaves(one, (*place, number))
    else:
        yield place, value


def _of_kind(manifest: Manifest) -> Iterator[Found]:
    kind, spec = manifest["kind"], manifest.get("spec", {})
    if kind == "HorizontalPodAutoscaler":
        yield from _in_order(spec, "minReplicas", "maxReplicas")
    elif kind == "ScaledObject":
        yield from _in_order(spec, "minReplicaCount", "maxReplicaCount")
    elif kind == "InferenceService":
        found = _in_order(spec["predictor"], "minReplicas", "maxReplicas")
        yield from ((("spec", "predictor", *where[1:]), what, wanted) for where, what, wanted in found)
    elif kind == "PodDisruptionBudget":
        given = [name for name in ("minAvailable", "maxUnavailable") if name in spec]
        if len(given) != 1:
            yield ("spec",), given, "one of minAvailable and maxUnavailable"
    elif kind == "Deployment":
        yield from _selects_itself(spec)
    elif kind == "ConfigMap":
        size = sum(len(key) + len(value.encode()) for key, value in manifest.get("data", {}).items())
        if size > _MOST_BYTES:
            yield ("data",), f"{size} bytes", f"{_MOST_BYTES} bytes at most"


def _in_order(spec: Mapping[str, Any], least: str, most: str) -> Iterator[Found]:
    if spec.get(least, 1) > spec.get(most, spec.get(least, 1)):
        yield ("spec", most), spec[most], f"{least} ({spec[least]}) or more"


def _selects_itself(spec: Mapping[str, Any]) -> Iterator[Found]:
    wanted, labels = spec["selector"].get("matchLabels", {}), spec["template"]["metadata"].get("labels", {})
    if not wanted or not wanted.items() <= labels.items():
        yield ("spec", "selector", "matchLabels"), wanted, f"labels of its own pods ({shown(labels)})"
    policy = spec["template"]["spec"].get("restartPolicy", "Always")
    if policy != "Always":
        yield ("spec", "template", "spec", "restartPolicy"), policy, "Always: a Deployment runs for ever"


def _pod(pod: Mapping[str, Any]) -> Iterator[Found]:
    """Volumes that are mounted, names and ports told apart, and nothing that runs with more rights."""
    yield from _pod_rights(pod)
    volumes = [volume["name"] for volume in pod.get("volumes", [])]
    if twice := {name for name in volumes if volumes.count(name) > 1}:
        yield ("volumes",), sorted(twice), "volumes of different names"
    for group in ("initContainers", "containers"):
        for number, container in enumerate(pod.get(group, [])):
            found = [*_container(container, volumes)]
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


def _container(container: Mapping[str, Any], volumes: list[str]) -> Iterator[Found]:
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        yield ("securityContext", "allowPrivilegeEscalation"), security, "false, and not privileged"
    if "ALL" not in security.get("capabilities", {}).get("drop", []):
        yield ("securityContext", "capabilities"), security.get("capabilities"), "drop: [ALL]"
    if not str(container.get("image", "")).strip():
        yield ("image",), container.get("image"), "the name of an image"
    for number, mount in enumerate(container.get("volumeMounts", [])):
        if mount["name"] not in volumes:
            yield (
                ("volumeMounts", number, "name"),
                mount["name"],
                f"one of the volumes ({', '.join(volumes)})",
            )
    for field, key in (("volumeMounts", "mountPath"), ("env", "name"), ("ports", "name")):
        given = [one.get(key) for one in container.get(field, [])]
        if twice := {one for one in given if given.count(one) > 1}:
            yield (field,), sorted(map(str, twice)), f"a different {key} for each"
    for number, port in enumerate(container.get("ports", [])):
        if not _PORT_NAME.fullmatch(port.get("name", "port")):
            yield ("ports", number, "name"), port["name"], "15 lower-case letters and digits at most"
    yield from _within_limits(container.get("resources", {}))


def _within_limits(resources: Mapping[str, Mapping[str, str]]) -> Iterator[Found]:
    """What is asked for is no more than what is allowed; wrong quantities are found elsewhere."""
    limits = resources.get("limits", {})
    for name, asked in resources.get("requests", {}).items():
        try:
            is_more = name in limits and as_number(str(asked)) > as_number(str(limits[name]))
        except ValueError:
            continue
        if is_more:
            yield ("resources", "requests", name), asked, f"its limit ({limits[name]}) or less"
