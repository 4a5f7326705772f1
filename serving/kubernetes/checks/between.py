"""Rules between objects: whoever names another object, its pods or its ports, names one that is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ....compute.manifests import path_of
from ..objects import Manifest
from .fault import FileFault, differs
from .objects import Found, pod_of

Labels = Mapping[str, str]


def faults_between(manifests: Mapping[str, Manifest]) -> list[FileFault]:
    """What is wrong with objects of valid forms as a whole."""
    whole = _Whole(list(manifests.values()))
    found = [(file, one) for file, manifest in manifests.items() for one in whole.faults(manifest)]
    return [FileFault(file, path_of(where), differs(what, wanted)) for file, (where, what, wanted) in found]


class _Whole:
    """The objects that are applied together."""

    def __init__(self, manifests: list[Manifest]) -> None:
        self._names = [_key(manifest) for manifest in manifests]
        self._pods = [(_pod_labels(one), pod_of(one)[0]) for one in manifests if pod_of(one)[0] is not None]
        self._services = [one for one in manifests if one["kind"] == "Service"]

    def faults(self, manifest: Manifest) -> Iterator[Found]:
        """What one of them names and the others have not."""
        if self._names.count(_key(manifest)) > 1:
            yield (
                ("metadata", "name"),
                manifest["metadata"]["name"],
                "a name that no other object of its kind has",
            )
        spec = manifest.get("spec", {})
        match manifest["kind"]:
            case "Service":
                yield from self._selected(("spec", "selector"), spec.get("selector", {}))
                yield from self._target_ports(spec)
            case "PodDisruptionBudget":
                yield from self._selected(("spec", "selector"), spec["selector"].get("matchLabels", {}))
            case "NetworkPolicy":
                yield from self._selected(("spec", "podSelector"), spec["podSelector"].get("matchLabels", {}))
            case "HorizontalPodAutoscaler" | "ScaledObject":
                target = spec["scaleTargetRef"]
                yield from self._named(
                    ("spec", "scaleTargetRef"), target.get("kind", "Deployment"), target["name"]
                )
            case "ServiceMonitor":
                yield from self._monitored(spec)
        yield from self._of_pod(manifest)

    def _selected(self, place: tuple[str | int, ...], wanted: Labels) -> Iterator[Found]:
        if not wanted or not any(wanted.items() <= labels.items() for labels, _ in self._pods):
            yield place, wanted, "labels of pods that are applied with it"

    def _target_ports(self, spec: Mapping[str, Any]) -> Iterator[Found]:
        wanted = spec.get("selector", {})
        for number, port in enumerate(spec.get("ports", [])):
            target = port.get("targetPort", port["port"])
            for labels, pod in self._pods:
                if pod is not None and wanted.items() <= labels.items() and not _has_port(pod, target):
                    yield (
                        ("spec", "ports", number, "targetPort"),
                        target,
                        "a port of the pods that it selects",
                    )

    def _named(self, place: tuple[str | int, ...], kind: str, name: str) -> Iterator[Found]:
        if (kind, name) not in self._names:
            yield place, name, f"the name of a {kind} that is applied with it"

    def _monitored(self, spec: Mapping[str, Any]) -> Iterator[Found]:
        wanted = spec["selector"].get("matchLabels", {})
        chosen = [
            one for one in self._services if wanted.items() <= one["metadata"].get("labels", {}).items()
        ]
        if not wanted or not chosen:
            yield ("spec", "selector"), wanted, "labels of a Service that is applied with it"
        for number, endpoint in enumerate(spec["endpoints"]):
            for service in chosen:
                if endpoint.get("port") not in [port.get("name") for port in service["spec"]["ports"]]:
                    yield ("spec", "endpoints", number, "port"), endpoint.get("port"), "a port of its Service"

    def _of_pod(self, manifest: Manifest) -> Iterator[Found]:
        """ConfigMaps and accounts that a pod names; Secrets and claims are the cluster's own."""
        pod, place = pod_of(manifest)
        if pod is None:
            return
        yield from self._named((*place, "serviceAccountName"), "ServiceAccount", pod["serviceAccountName"])
        for number, volume in enumerate(pod.get("volumes", [])):
            if "configMap" in volume:
                yield from self._named((*place, "volumes", number), "ConfigMap", volume["configMap"]["name"])
        for group in ("initContainers", "containers"):
            for number, container in enumerate(pod.get(group, [])):
                for source in container.get("envFrom", []):
                    if "configMapRef" in source:
                        yield from self._named(
                            (*place, group, number, "envFrom"), "ConfigMap", source["configMapRef"]["name"]
                        )


def _key(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _pod_labels(manifest: Manifest) -> Labels:
    """The labels of a workload's pods; KServe hands those of its object on."""
    labelled = manifest if manifest["kind"] == "InferenceService" else manifest["spec"]["template"]
    labels: Labels = labelled["metadata"].get("labels", {})
    return labels


def _has_port(pod: Mapping[str, Any], target: str | int) -> bool:
    ports = [port for container in pod["containers"] for port in container.get("ports", [])]
    return any(target in (port.get("name"), port["containerPort"]) for port in ports)
