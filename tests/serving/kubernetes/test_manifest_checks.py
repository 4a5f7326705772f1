"""What is wrong with manifests is found offline: by published schemas, and by rules where they are silent."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.serving.kubernetes.checks import check, faults_of
from opswright.serving.kubernetes.manifests import render

Objects = dict[str, dict[str, Any]]


@pytest.fixture
def manifests(layout: Any) -> Objects:
    return copy.deepcopy(render(layout.release("one"), layout.shape()))


def first(manifests: Objects, kind: str) -> dict[str, Any]:
    return next(one for one in manifests.values() if one["kind"] == kind)


def pod(manifests: Objects) -> dict[str, Any]:
    return dict(first(manifests, "Deployment")["spec"]["template"]["spec"])


def _set(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        for step in path[:-1]:
            found = found[step]
        found[path[-1]] = value

    return change


_POD = ("spec", "template", "spec")
_SERVER = (*_POD, "containers", 0)
FAULTS: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    # the published schemas
    ("Deployment", _set("spec", "replicas", value="two"), "spec.replicas"),
    ("Deployment", _set("spec", "replica", value=2), "'replica' was unexpected"),
    ("Deployment", _set("apiVersion", value="extensions/v1beta1"), "has no Deployment in extensions/v1beta1"),
    ("Deployment", _set(*_SERVER, "env", 0, value={"name": "A", "value": 1}), "env[0].value"),
    ("Service", lambda one: one["spec"]["ports"][0].pop("port"), "'port' is a required property"),
    ("ServiceMonitor", _set("spec", "endpoint", value=[]), "'endpoint' was unexpected"),
    ("HorizontalPodAutoscaler", _set("spec", "minReplica", value=2), "'minReplica' was unexpected"),
    # what they let pass
    ("Deployment", _set("spec", "selector", "matchLabels", value={"app": "other"}), "is no label of spec"),
    ("Deployment", _set(*_SERVER, "resources", "limits", "memory", value="2GB"), "is no quantity"),
    ("Deployment", _set(*_SERVER, "resources", "requests", "memory", value="64Gi"), "its limit"),
    ("Deployment", _set("metadata", "name", value="Shop_Triton"), "lower-case letters"),
    ("Deployment", _set("metadata", "labels", "team", value="a b"), "is no value of a label"),
    ("Deployment", _set(*_POD, "restartPolicy", value="Never"), "Always"),
    ("Deployment", _set(*_POD, "hostNetwork", value=True), "hostNetwork"),
    ("Deployment", _set(*_POD, "securityContext", "runAsUser", value=0), "runAsNonRoot"),
    ("Deployment", _set(*_POD, "securityContext", "seccompProfile", value={"type": "Unconfined"}), "seccomp"),
    ("Deployment", _set(*_POD, "automountServiceAccountToken", value=True), "automountServiceAccountToken"),
    ("Deployment", _set(*_POD, "serviceAccountName", value="root"), "ServiceAccount that is applied"),
    ("Deployment", _set(*_POD, "volumes", 0, "configMap", "name", value="gone"), "ConfigMap that is applied"),
    ("Deployment", _set(*_POD, "volumes", 2, value={"name": "tmp", "hostPath": {"path": "/"}}), "the node"),
    ("Deployment", _set(*_SERVER, "securityContext", value={"privileged": True}), "not privileged"),
    ("Deployment", _set(*_SERVER, "image", value=" "), "the name of an image"),
    ("Deployment", _set(*_SERVER, "volumeMounts", 0, "name", value="nowhere"), "which is no volume"),
    ("Deployment", _set(*_SERVER, "ports", 0, "containerPort", value=99999), "1 to 65535"),
    ("Deployment", _set(*_SERVER, "ports", 0, "protocol", value="TPC"), "none of TCP, UDP, SCTP"),
    ("Service", _set("metadata", "name", value="9lives"), "'9lives' is no name"),
    ("Service", _set("spec", "selector", value={"app": "other"}), "labels of pods"),
    ("Service", _set("spec", "ports", 0, "targetPort", value="web"), "a port of the pods"),
    ("HorizontalPodAutoscaler", _set("spec", "minReplicas", value=99), "99 is more than maxReplicas"),
    ("HorizontalPodAutoscaler", _set("spec", "scaleTargetRef", "name", value="gone"), "name of a Deployment"),
    ("PodDisruptionBudget", _set("spec", "minAvailable", value=1), "needs one of minAvailable"),
    ("PodDisruptionBudget", lambda one: one["spec"].pop("maxUnavailable"), "needs one of minAvailable"),
    ("NetworkPolicy", _set("spec", "podSelector", "matchLabels", value={}), "labels of pods"),
    ("ServiceMonitor", _set("spec", "endpoints", 0, "port", value="web"), "a port of its Service"),
    ("ConfigMap", _set("data", "big", value="x" * (1 << 20)), "1048576 bytes at most"),
    ("ConfigMap", _set("data", "key", value="-----BEGIN RSA PRIVATE KEY-----"), "the name of a Secret"),
    ("Deployment", _set(*_SERVER, "env", 0, value={"name": "A_TOKEN", "value": "hunter2"}), "of a Secret"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "break_it", "says"), FAULTS, ids=[says for _, _, says in FAULTS])
def test_each_fault_is_found_where_it_is(
    manifests: Objects, kind: str, break_it: Callable[[dict[str, Any]], None], says: str
) -> None:
    broken = first(manifests, kind)
    assert faults_of(manifests, "1.33") == []
    break_it(broken)
    file = next(name for name, one in manifests.items() if one is broken)
    assert any(fault.file == file and says in str(fault) for fault in faults_of(manifests, "1.33"))


def test_two_objects_of_one_name_are_found(manifests: Objects) -> None:
    manifests["99-again.yaml"] = copy.deepcopy(first(manifests, "Service"))
    assert "no other object" in str(faults_of(manifests, "1.33")[0])


def test_a_secret_among_the_objects_is_refused_and_not_shown(manifests: Objects) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a"},
        "stringData": {"a": "hunter22"},
    }
    manifests["99-secret.yaml"] = secret
    with pytest.raises(AskError, match="name of a Secret of the cluster") as refused:
        check(manifests, "1.33")
    assert "hunter22" not in str(refused.value)


def test_one_error_lists_every_fault_with_file_and_place(manifests: Objects) -> None:
    first(manifests, "PodDisruptionBudget")["spec"]["minAvailable"] = 1
    first(manifests, "HorizontalPodAutoscaler")["spec"]["minReplicas"] = 99
    with pytest.raises(AskError, match=r"not valid for Kubernetes 1.33 \(2 faults\)") as refused:
        check(manifests, "1.33")
    lines = str(refused.value).splitlines()[1:]
    assert len(lines) == 2 and all(".yaml: spec" in line for line in lines)


def test_what_a_version_has_not_is_found_for_that_version(manifests: Objects) -> None:
    first(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]["lifecycle"] = {
        "preStop": {"sleep": {"seconds": 5}}
    }
    assert faults_of(manifests, "1.33") == []
    assert "sleep" in str(faults_of(manifests, "1.25")[0])


def test_kserves_pod_is_checked_as_a_pod(layout: Any) -> None:
    found = copy.deepcopy(render(layout.release("one"), layout.shape(kserve=True)))
    assert faults_of(found, "1.33") == []
    first(found, "InferenceService")["spec"]["predictor"]["container"] = []
    assert "'container' was unexpected" in str(faults_of(found, "1.33")[0])
