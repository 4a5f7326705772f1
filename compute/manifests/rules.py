"""What the published schemas leave to the API server, of one object.

Names, labels, quantities, ports, selectors, references between fields, and the values that a Job's pods may
not have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from .fault import ManifestFault
from .quantities import quantity
from .schemas import Manifest

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_KEY = re.compile(
    rf"(?:(?P<prefix>{_SUBDOMAIN.pattern})/)?(?P<name>[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)"
)
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")
_ENVIRONMENT = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_TOLERATED = {
    "operator": ("Equal", "Exists"),
    "effect": ("NoSchedule", "PreferNoSchedule", "NoExecute"),
}
_LABEL_NAMED = ("Namespace",)  # kinds whose name is one label, of 63 characters
_ONE_LABEL = 63
_SUBDOMAIN_LENGTH = 253


def faults_of_rules(manifest: Manifest, is_misshapen: bool = False) -> list[ManifestFault]:
    """What is wrong with an object; one whose types a schema refused already may stop a rule half-way."""
    return [fault for rule in _RULES for fault in _unless_misshapen(rule, manifest, is_misshapen)]


def is_label_value(text: str) -> bool:
    """Whether a text may be a label's value."""
    return len(text) <= _ONE_LABEL and _VALUE.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether a text may be an object's name (a DNS subdomain)."""
    return len(text) <= _SUBDOMAIN_LENGTH and _SUBDOMAIN.fullmatch(text) is not None


def _unless_misshapen(
    rule: Callable[[Manifest], Iterator[ManifestFault]], manifest: Manifest, is_misshapen: bool
) -> list[ManifestFault]:
    found: list[ManifestFault] = []
    try:
        found.extend(rule(manifest))
    except (AttributeError, KeyError, TypeError, ValueError):
        if not is_misshapen:
            raise
    return found


def _nodes(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every object within, with its path."""
    if isinstance(node, Mapping):
        yield path, node
        for key, value in node.items():
            yield from _nodes(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _nodes(value, f"{path}[{index}]")


def _pods(manifest: Manifest) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every pod spec within: an object that has containers, each with a name."""
    for path, node in _nodes(manifest):
        if isinstance(node.get("containers"), list) and path.rpartition(".")[2] == "spec":
            yield path, node


def _containers(pod: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(pod.get(kind, ())):
            yield f"{kind}[{index}]", container


def _names(manifest: Manifest) -> Iterator[ManifestFault]:
    """Names of the object, its namespace, its containers and volumes."""
    metadata = manifest.get("metadata", {})
    name, kind = metadata.get("name"), manifest.get("kind")
    if name is None and "generateName" not in metadata:
        yield ManifestFault("metadata.name", "missing")
    if name is not None:
        if kind == "Service":
            fits, expected = _SERVICE.fullmatch(name), "a letter, then letters, digits and '-'"
        elif kind in _LABEL_NAMED:
            fits, expected = _LABEL.fullmatch(name), "lower-case letters, digits and '-'"
        else:
            fits, expected = _SUBDOMAIN.fullmatch(name), "lower-case letters, digits, '-' and '.'"
        # the name is a label of the pods of these, too
        short = kind in (*_LABEL_NAMED, "Service", "Job", "StatefulSet", "TrainJob")
        most = _ONE_LABEL if short else _SUBDOMAIN_LENGTH
        if not fits or len(name) > most:
            yield ManifestFault("metadata.name", f"'{name}' is no name: expected {expected}, at most {most}")
    if (space := metadata.get("namespace")) is not None and not _is_label(space):
        yield ManifestFault("metadata.namespace", f"'{space}' is no name of a namespace")
    for path, pod in _pods(manifest):
        yield from _names_within(path, pod)


def _is_label(text: str) -> bool:
    return len(text) <= _ONE_LABEL and _LABEL.fullmatch(text) is not None


def _names_within(path: str, pod: Mapping[str, Any]) -> Iterator[ManifestFault]:
    groups = {"containers": [one for _, one in _containers(pod)], "volumes": pod.get("volumes", [])}
    for what, members in groups.items():
        names = [member.get("name", "") for member in members]
        for name in dict.fromkeys(names):
            if not _is_label(name):
                yield ManifestFault(
                    f"{path}.{what}", f"'{name}' is no name: lower-case letters, digits and '-'"
                )
            if names.count(name) > 1:
                yield ManifestFault(f"{path}.{what}", f"'{name}' stands {names.count(name)} times")


def _labels(manifest: Manifest) -> Iterator[ManifestFault]:
    """Labels, annotations and selectors: form of keys and values."""
    for path, node in _nodes(manifest):
        for part in ("labels", "matchLabels", "nodeSelector"):
            for key, value in _mapping(node.get(part)).items():
                place = f"{path}.{part}".removeprefix(".")
                if not _is_key(key):
                    yield ManifestFault(place, f"'{key}' is no name of a label")
                if isinstance(value, str) and not is_label_value(value):
                    yield ManifestFault(
                        place, f"'{value}' is no value of a label: letters, digits, '-', '_', '.', at most 63"
                    )
        for key in _mapping(node.get("annotations")):
            if not _is_key(key):
                yield ManifestFault(
                    f"{path}.annotations".removeprefix("."), f"'{key}' is no name of an annotation"
                )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_key(key: str) -> bool:
    found = _KEY.fullmatch(key)
    return found is not None and len(found["name"]) <= _ONE_LABEL and len(found["prefix"] or "") <= 253


def _quantities(manifest: Manifest) -> Iterator[ManifestFault]:
    """Requests and limits are quantities, no request is above its limit, GPUs are whole."""
    for path, node in _nodes(manifest):
        if "sizeLimit" in node and quantity(node["sizeLimit"]) is None:
            yield ManifestFault(f"{path}.sizeLimit", f"'{node['sizeLimit']}' is no quantity, as 512Mi")
        if path.rpartition(".")[2] not in ("resources", "resourcesPerNode"):
            continue
        numbers: dict[tuple[str, str], Decimal] = {}
        for part in ("requests", "limits"):
            for name, text in _mapping(node.get(part)).items():
                if not _is_key(name):
                    yield ManifestFault(f"{path}.{part}", f"'{name}' is no name of a resource")
                number = quantity(text)
                if number is None or number < 0:
                    yield ManifestFault(
                        f"{path}.{part}.{name}", f"'{text}' is no quantity, as 500m, 2 or 4Gi"
                    )
                    continue
                numbers[part, name] = number
                if "/" in name and number % 1:
                    yield ManifestFault(f"{path}.{part}.{name}", f"'{text}': devices are given out whole")
        yield from _above_their_limits(path, numbers)


def _above_their_limits(path: str, numbers: Mapping[tuple[str, str], Decimal]) -> Iterator[ManifestFault]:
    for (part, name), number in numbers.items():
        limit = numbers.get(("limits", name))
        if part != "requests" or limit is None:
            continue
        if number > limit:
            yield ManifestFault(f"{path}.requests.{name}", f"{number} is more than its limit, {limit}")
        elif "/" in name and number != limit:
            yield ManifestFault(
                f"{path}.requests.{name}", f"{number} is not its limit, {limit}, as devices need"
            )


def _ports(manifest: Manifest) -> Iterator[ManifestFault]:
    """Port numbers, names and protocols."""
    for path, node in _nodes(manifest):
        for field in ("port", "targetPort", "containerPort", "hostPort", "nodePort", "endPort"):
            value = node.get(field)
            if isinstance(value, int) and not 1 <= value <= 65535:
                yield ManifestFault(f"{path}.{field}", f"{value} is no port (1 to 65535)")
            if field in ("port", "targetPort") and isinstance(value, str) and not _is_port_name(value):
                yield ManifestFault(f"{path}.{field}", f"'{value}' is no name of a port")
        if path.rpartition(".")[2].startswith("ports["):
            if (protocol := node.get("protocol", "TCP")) not in _PROTOCOLS:
                yield ManifestFault(f"{path}.protocol", f"'{protocol}' is none of {', '.join(_PROTOCOLS)}")
            if "containerPort" in node and (name := node.get("name")) is not None and not _is_port_name(name):
                yield ManifestFault(f"{path}.name", f"'{name}' is no name of a port: at most 15 characters")


def _is_port_name(text: str) -> bool:
    return _PORT_NAME.fullmatch(text) is not None


def _selectors(manifest: Manifest) -> Iterator[ManifestFault]:
    """A workload selects the pods that it makes."""
    if manifest.get("kind") not in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"):
        return
    spec = manifest.get("spec", {})
    wanted = spec.get("selector", {}).get("matchLabels", {})
    labels = spec.get("template", {}).get("metadata", {}).get("labels", {})
    if not wanted and not spec.get("selector", {}).get("matchExpressions"):
        yield ManifestFault("spec.selector", "selects every pod")
    for key, value in wanted.items():
        if labels.get(key) != value:
            yield ManifestFault("spec.selector.matchLabels", f"{key}={value} is no label of spec.template")


def _references(manifest: Manifest) -> Iterator[ManifestFault]:
    """What containers mount is a volume of their pod; variables have names that a shell can give."""
    for path, pod in _pods(manifest):
        volumes = {volume.get("name") for volume in pod.get("volumes", ())}
        for place, container in _containers(pod):
            mounts = container.get("volumeMounts", ())
            for mount in mounts:
                if mount.get("name") not in volumes and manifest.get("kind") != "StatefulSet":
                    yield ManifestFault(
                        f"{path}.{place}", f"mounts '{mount.get('name')}', which is no volume"
                    )
            paths = [mount.get("mountPath") for mount in mounts]
            for twice in {one for one in paths if paths.count(one) > 1}:
                yield ManifestFault(f"{path}.{place}.volumeMounts", f"two volumes at {twice}")
            for variable in container.get("env", ()):
                if not _ENVIRONMENT.fullmatch(variable.get("name", "")):
                    yield ManifestFault(
                        f"{path}.{place}.env", f"'{variable.get('name')}' is no name of a variable"
                    )
                if "value" in variable and "valueFrom" in variable:
                    yield ManifestFault(f"{path}.{place}.env", f"{variable['name']} has a value and a source")


def _tolerations(manifest: Manifest) -> Iterator[ManifestFault]:
    """What a pod tolerates are taints that there are."""
    for path, pod in _pods(manifest):
        for index, one in enumerate(pod.get("tolerations", ())):
            for field, known in _TOLERATED.items():
                if (value := one.get(field, known[0])) not in known:
                    place = f"{path}.tolerations[{index}].{field}"
                    yield ManifestFault(place, f"'{value}' is none of {', '.join(known)}")


def _jobs(manifest: Manifest) -> Iterator[ManifestFault]:
    """A Job's pods end, and what decides on their failures fits that."""
    if manifest.get("kind") != "Job":
        return
    spec = manifest.get("spec", {})
    pod = spec.get("template", {}).get("spec", {})
    policy = pod.get("restartPolicy")
    if policy not in ("Never", "OnFailure"):
        yield ManifestFault("spec.template.spec.restartPolicy", f"'{policy}' is neither Never nor OnFailure")
    if "podFailurePolicy" in spec and policy != "Never":
        yield ManifestFault("spec.podFailurePolicy", "needs restartPolicy Never")
    for field in ("activeDeadlineSeconds", "ttlSecondsAfterFinished", "backoffLimit"):
        least = 1 if field == "activeDeadlineSeconds" else 0
        if isinstance(value := spec.get(field), int) and value < least:
            yield ManifestFault(f"spec.{field}", f"{value} is less than {least}")
    for index, rule in enumerate(spec.get("podFailurePolicy", {}).get("rules", ())):
        if ("onExitCodes" in rule) == ("onPodConditions" in rule):
            yield ManifestFault(
                f"spec.podFailurePolicy.rules[{index}]", "needs one of onExitCodes and onPodConditions"
            )


def _scaling(manifest: Manifest) -> Iterator[ManifestFault]:
    """Replicas of autoscalers and what a disruption budget leaves."""
    spec = manifest.get("spec", {})
    if manifest.get("kind") == "HorizontalPodAutoscaler":
        least, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 1)
        if least > most:
            yield ManifestFault("spec.minReplicas", f"{least} is more than maxReplicas, {most}")
    if manifest.get("kind") == "PodDisruptionBudget":
        limits = [name for name in ("minAvailable", "maxUnavailable") if name in spec]
        if len(limits) != 1:
            yield ManifestFault("spec", "needs one of minAvailable and maxUnavailable")
    if isinstance(replicas := spec.get("replicas"), int) and replicas < 0:
        yield ManifestFault("spec.replicas", f"{replicas} is less than 0")


_RULES: Sequence[Callable[[Manifest], Iterator[ManifestFault]]] = (
    _names,
    _labels,
    _quantities,
    _ports,
    _selectors,
    _references,
    _tolerations,
    _jobs,
    _scaling,
)
