"""What the published schemas catch in a manifest, and what only rules of our own do."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest

from opswright.compute.manifests import faults, quantity, require_valid
from opswright.core.errors import AskError

VERSION = "1.34"
JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "train", "namespace": "lm", "labels": {"app": "train"}},
    "spec": {
        "backoffLimit": 0,
        "template": {
            "metadata": {"labels": {"app": "train"}},
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "job",
                        "image": "busybox:1",
                        "ports": [{"containerPort": 8000, "name": "http"}],
                        "env": [{"name": "A", "value": "1"}],
                        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2"}},
                        "volumeMounts": [{"name": "work", "mountPath": "/work"}],
                    }
                ],
                "volumes": [{"name": "work", "emptyDir": {}}],
            },
        },
    },
}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "gateway"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "gateway"}},
        "template": {
            "metadata": {"labels": {"app": "gateway"}},
            "spec": {"containers": [{"name": "gateway", "image": "x"}]},
        },
    },
}
POD = "spec.template.spec"
CONTAINER = f"{POD}.containers.0"


def changed(manifest: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """The manifest with one field set, or taken out by None."""
    made = copy.deepcopy(manifest)
    *way, last = path.split(".")
    node: Any = made
    for part in way:
        node = node[_key(part)]
    if value is None:
        del node[_key(last)]
    else:
        node[_key(last)] = value
    return made


def _key(part: str) -> str | int:
    return int(part) if part.isdecimal() else part


@pytest.mark.parametrize("manifest", [JOB, DEPLOYMENT], ids=lambda one: one["kind"])
@pytest.mark.parametrize("version", ["1.29", "1.37", "v1.34.2"])
def test_a_good_manifest_has_no_faults(manifest: dict[str, Any], version: str) -> None:
    assert faults(manifest, version) == []


@pytest.mark.parametrize(
    ("path", "value", "at", "said"),
    [
        ("spec.backoffLimit", "none", "spec.backoffLimit", "is not of type"),
        ("spec.tempalte", {}, "spec", "tempalte"),
        (f"{CONTAINER}.env.0.value", 1, f"{POD}.containers[0].env[0].value", "is not of type"),
        ("spec.template", None, "spec", "required"),
        ("metadata.name", "Train_1", "metadata.name", "no name"),
        ("metadata.name", "x" * 64, "metadata.name", "at most 63"),
        ("metadata.name", None, "metadata.name", "missing"),
        ("metadata.namespace", "a.b", "metadata.namespace", "no name of a namespace"),
        ("metadata.labels.app", "two words", "metadata.labels", "no value of a label"),
        ("metadata.labels.-x-", "1", "metadata.labels", "no name of a label"),
        (f"{POD}.restartPolicy", "Always", f"{POD}.restartPolicy", "neither Never nor OnFailure"),
        (f"{POD}.restartPolicy", "Neverr", f"{POD}.restartPolicy", "neither Never nor OnFailure"),
        (f"{POD}.restartPolicy", None, f"{POD}.restartPolicy", "neither Never nor OnFailure"),
        (f"{CONTAINER}.resources.requests.cpu", "2 cores", f"{POD}.containers[0].resources", "no quantity"),
        (f"{CONTAINER}.resources.requests.cpu", "3", f"{POD}.containers[0].resources", "more than its limit"),
        (f"{CONTAINER}.resources.limits", {"nvidia.com/gpu": "0.5"}, f"{POD}.containers[0]", "whole"),
        (f"{CONTAINER}.ports.0.containerPort", 99999, f"{POD}.containers[0].ports[0]", "no port"),
        (f"{CONTAINER}.ports.0.protocol", "TPC", f"{POD}.containers[0].ports[0]", "TCP, UDP, SCTP"),
        (f"{CONTAINER}.ports.0.name", "a-name-that-is-too-long", f"{POD}.containers[0].ports[0]", "no name"),
        (f"{CONTAINER}.volumeMounts.0.name", "wrok", f"{POD}.containers[0]", "which is no volume"),
        (f"{CONTAINER}.env.0.name", "1 A", f"{POD}.containers[0].env", "no name of a variable"),
        (
            f"{POD}.tolerations",
            [{"effect": "NoSchedul"}],
            f"{POD}.tolerations[0].effect",
            "none of NoSchedule",
        ),
        (f"{CONTAINER}.resources.limits", {"a/b/c": "1"}, f"{POD}.containers[0]", "no name of a resource"),
        (f"{POD}.volumes.0.emptyDir", {"sizeLimit": "1GB"}, f"{POD}.volumes[0].emptyDir", "no quantity"),
        (f"{CONTAINER}.name", "Job", f"{POD}.containers", "no name"),
        ("spec.activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds", "less than 1"),
        ("spec.podFailurePolicy", {"rules": [{"action": "Ignore"}]}, "spec.podFailurePolicy", "needs one of"),
    ],
)
def test_each_fault_of_a_job_is_named_with_its_place(path: str, value: object, at: str, said: str) -> None:
    found = faults(changed(JOB, path, value), VERSION)
    assert any(fault.path.startswith(at) and said in fault.message for fault in found), found


def _autoscaler(least: int, most: int) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gateway"}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "gateway"},
        "spec": {"minReplicas": least, "maxReplicas": most, "scaleTargetRef": target},
    }


def _budget(**limits: int) -> dict[str, Any]:
    spec = {"selector": {"matchLabels": {"app": "gateway"}}, **limits}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "x"},
        "spec": spec,
    }


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (changed(DEPLOYMENT, "spec.selector.matchLabels.app", "gatewya"), "is no label of spec.template"),
        (changed(DEPLOYMENT, "spec.selector", {}), "selects every pod"),
        (_autoscaler(4, 2), "more than maxReplicas"),
        (_budget(minAvailable=1, maxUnavailable=1), "needs one of minAvailable"),
        ({**DEPLOYMENT, "apiVersion": "extensions/v1beta1"}, "has no Deployment in extensions/v1beta1"),
        ({**DEPLOYMENT, "kind": "Deplyoment"}, "has no Deplyoment"),
        ({"kind": "Job"}, "apiVersion and kind are needed"),
    ],
)
def test_each_fault_of_what_serves_is_named(manifest: dict[str, Any], said: str) -> None:
    found = faults(manifest, VERSION)
    assert any(said in fault.message for fault in found), found


@pytest.mark.parametrize("manifest", [_autoscaler(1, 2), _budget(minAvailable=1)])
def test_good_limits_pass(manifest: dict[str, Any]) -> None:
    assert faults(manifest, VERSION) == []


def test_a_custom_resource_is_held_against_the_schema_that_is_given() -> None:
    manifest = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "x"},
        "spec": {},
    }
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "required": ["triggers"], "additionalProperties": False}},
    }
    assert "has no ScaledObject" in str(faults(manifest, VERSION))
    found = faults(manifest, VERSION, {("keda.sh/v1alpha1", "ScaledObject"): schema})
    assert [str(fault) for fault in found] == ["spec: 'triggers' is a required property"]


@pytest.mark.parametrize("broken", ["x", 3, {"a": 1}, ["x"]])
@pytest.mark.parametrize("path", ["spec", "metadata", POD, f"{POD}.containers", f"{CONTAINER}.env.0"])
def test_a_misshapen_manifest_is_a_fault_and_no_crash(path: str, broken: object) -> None:
    assert faults(changed(JOB, path, broken), VERSION)


def test_all_faults_are_told_at_once() -> None:
    broken = changed(changed(JOB, "metadata.name", "A"), f"{POD}.restartPolicy", "Always")
    with pytest.raises(AskError, match=r"(?s)invalid manifest of Job 'A':.*metadata.name.*restartPolicy"):
        require_valid(broken, VERSION)


@pytest.mark.parametrize("version", ["1.24", "2.0", "latest", ""])
def test_a_version_without_schemas_is_refused(version: str) -> None:
    with pytest.raises(AskError, match=r"expected 1\.25 to 1\.37"):
        faults(JOB, version)


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", "0.5"), ("2Gi", 2**31), ("1e3", 1000), ("1.5", "1.5"), (2, 2), ("1k", 1000), ("1E", 10**18)],
)
def test_quantities_are_numbers(text: str | int, number: str | int) -> None:
    assert quantity(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "1 Gi", "2GB", "Gi", "1e", "0x2", "--1"])
def test_what_is_no_quantity(text: str) -> None:
    assert quantity(text) is None
