"""What is written for a release: every choice gives manifests that pass, and that say what they should."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from opswright.core.artifact_refs import BundleRef, GuardrailRef
from opswright.core.errors import AskError
from opswright.serving.kubernetes.checks import faults_of
from opswright.serving.kubernetes.files import as_yaml, difference
from opswright.serving.kubernetes.manifests import render
from opswright.serving.kubernetes.quantities import as_number
from opswright.serving.kubernetes.release import ClusterRelease, GpuNeeds
from opswright.serving.kubernetes.secret_names import wanted_secrets
from opswright.serving.kubernetes.shape import ClusterShape
from opswright.serving.releases import ENDPOINT_PATTERN

IMAGES = {"gateway_image": "reg.example/gateway:1", "triton_image": "reg.example/triton:1"}


def shape_of(**other: Any) -> ClusterShape:
    return ClusterShape.model_validate({**IMAGES, **other})


def one(manifests: dict[str, Any], kind: str, part: str) -> dict[str, Any]:
    """The object of a kind that belongs to a part."""
    found = [
        m
        for m in manifests.values()
        if m["kind"] == kind and m["metadata"]["labels"]["app.kubernetes.io/component"] == part
    ]
    assert len(found) == 1
    return dict(found[0])


def container(manifests: dict[str, Any], part: str) -> dict[str, Any]:
    return dict(one(manifests, "Deployment", part)["spec"]["template"]["spec"]["containers"][0])


_NAMES = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_QUANTITIES = st.builds(
    lambda n, unit: f"{n}{unit}", st.integers(2, 900), st.sampled_from(["Gi", "G", "Ti", "e10"])
)
_CPUS = st.builds(lambda n, unit: f"{n}{unit}", st.integers(1, 900), st.sampled_from(["m", "", ".5"]))
_DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
_LABELS = st.dictionaries(
    st.from_regex(r"\A([a-z]{1,9}\.io/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?\Z"),
    st.from_regex(r"\A([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z"),
    max_size=3,
)
_SOURCES = st.one_of(
    st.builds("pvc:{}/a/b.c".format, _NAMES), st.just("pvc:x"), st.just("s3://my-bucket/a/b")
)

_STORES = st.one_of(
    st.fixed_dictionaries(
        {"url": st.just("rediss://redis.data.svc:6380/2"), "private_ca": st.booleans()},
        optional={"namespace": _NAMES, "username": st.just("ops"), "prefix": st.just("shop")},
    ),
    st.fixed_dictionaries({"url": st.builds("redis://{}".format, _NAMES)}, optional={"namespace": _NAMES}),
)
_TRAFFIC = st.fixed_dictionaries(
    {"ship_to": st.just("s3://logs/a/b")},
    optional={"port": st.integers(1, 65535), "ship_every_s": st.integers(1, 86_400)},
)


@st.composite
def pods(draw: Any) -> dict[str, Any]:
    least = draw(st.integers(1, 50))
    return {
        "replicas": least,
        "max_replicas": draw(st.integers(least, 200)),
        "cpu": draw(_CPUS),
        "memory": draw(_QUANTITIES),
        "node_selector": draw(_LABELS),
    }


@st.composite
def shapes(draw: Any) -> ClusterShape:
    scaling = draw(st.sampled_from(["none", "hpa", "keda"]))
    version = f"1.{draw(st.integers(25, 37))}"
    return shape_of(
        kubernetes=version,
        gateway=draw(pods()),
        triton=draw(pods()),
        secrets={
            "triton": draw(st.none() | _NAMES),
            "keys": draw(st.none() | _NAMES),
            "store": draw(st.none() | _NAMES),
            "traffic": draw(st.none() | _NAMES),
            "source": draw(st.none() | _NAMES),
            "pull": draw(st.lists(_NAMES, max_size=2)),
        },
        scaling=scaling,
        store=draw(st.none() | _STORES),
        traffic=draw(st.none() | _TRAFFIC),
        queue_ms=draw(st.floats(0.1, 600_000)),
        prometheus="http://prometheus.monitoring:9090",
        service_monitor=draw(st.booleans()),
        callers=draw(st.lists(_NAMES, max_size=3)),
        kserve=scaling != "keda" and draw(st.booleans()),
        start_minutes=draw(st.integers(1, 600)),
        disk=draw(_QUANTITIES),
    )


@st.composite
def releases(draw: Any) -> ClusterRelease:
    gpu = GpuNeeds(draw(st.integers(1, 64)), "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3", "/bundle")
    return ClusterRelease(
        endpoint=draw(st.from_regex(ENDPOINT_PATTERN.replace("^", r"\A").replace("$", r"\Z"))),
        namespace=draw(_NAMES),
        bundle=BundleRef.of(draw(_DIGESTS)),
        guardrails=draw(st.none() | st.builds(GuardrailRef.of, _DIGESTS)),
        target="onnx-int8",
        source=draw(_SOURCES),
        gpu=draw(st.none() | st.just(gpu)),
        plan=draw(st.just("") | _DIGESTS),
    )


@settings(max_examples=60, deadline=None)
@given(release=releases(), shape=shapes())
def test_whatever_is_asked_for_what_is_written_is_valid(release: ClusterRelease, shape: ClusterShape) -> None:
    assert faults_of(render(release, shape), shape.kubernetes) == []


@settings(max_examples=5, deadline=None)
@given(release=releases(), shape=shapes())
def test_the_files_hold_what_was_checked(release: ClusterRelease, shape: ClusterShape) -> None:
    manifests = render(release, shape)
    for name, text in as_yaml(manifests).items():
        assert yaml.safe_load(text) == json.loads(json.dumps(manifests[name]))


def test_a_release_is_the_same_bytes_each_time(layout: Any) -> None:
    release = layout.release("one")
    assert as_yaml(render(release, layout.shape())) == as_yaml(render(release, layout.shape()))


def test_tritons_port_is_open_to_the_gateway_alone(layout: Any) -> None:
    manifests = render(layout.release("one"), layout.shape(callers=["web"]))
    policy = one(manifests, "NetworkPolicy", "triton")["spec"]
    (inference,) = [rule for rule in policy["ingress"] if rule["ports"][0]["port"] == 8000]
    assert inference["from"] == [{"podSelector": one(manifests, "Deployment", "gateway")["spec"]["selector"]}]
    assert all(list(rule["from"][0]) for rule in policy["ingress"])
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [53, 53]


def test_pods_that_share_a_store_hold_its_address_and_name_its_password(layout: Any) -> None:
    store = {"url": "rediss://redis.data.svc:6380", "private_ca": True, "namespace": "data"}
    release = layout.release("one")
    shape = layout.shape(store=store, traffic={"ship_to": "s3://logs/ops"}, secrets={"traffic": "writer"})
    manifests = render(release, shape)
    pod = one(manifests, "Deployment", "gateway")["spec"]["template"]["spec"]
    (main,) = pod["containers"]
    named = {env["name"]: env["valueFrom"]["secretKeyRef"] for env in main["env"] if "valueFrom" in env}
    assert named["OPSWRIGHT_STORE_PASSWORD"] == {"name": "ops-shop-store", "key": "password"}
    assert main["envFrom"][1:] == [{"secretRef": {"name": "writer"}}]
    settings = next(found["data"] for name, found in manifests.items() if name.endswith("-settings.yaml"))
    assert settings["OPSWRIGHT_SERVING__STORE__URL"] == store["url"]
    assert settings["OPSWRIGHT_SERVING__STORE__PASSWORD"] == "secret:env:OPSWRIGHT_STORE_PASSWORD"
    assert settings["OPSWRIGHT_SERVING__TRAFFIC__SHIP_TO"] == "s3://logs/ops"
    mounts = {mount["name"]: mount["mountPath"] for mount in main["volumeMounts"]}
    assert settings["OPSWRIGHT_SERVING__STORE__CA_FILE"] == f"{mounts['store']}/ca.crt"
    (certificates,) = [volume for volume in pod["volumes"] if volume["name"] == "store"]
    assert certificates["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]  # the password is no file
    egress = one(manifests, "NetworkPolicy", "gateway")["spec"]["egress"]
    data = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "data"}}}]
    assert {"ports": [{"protocol": "TCP", "port": 6380}], "to": data} in egress
    assert {"ports": [{"protocol": "TCP", "port": 443}]} in egress
    wanted = wanted_secrets(release, shape)
    assert "--from-file=password=FILE --from-file=ca.crt=FILE" in wanted["ops-shop-store"]
    assert "writer" in wanted and "ops-shop-keys" not in wanted


def test_keys_of_a_secret_are_mounted_only_where_no_store_holds_them(layout: Any) -> None:
    for store in (None, {"url": "redis://redis"}):
        pod = one(render(layout.release("one"), layout.shape(store=store)), "Deployment", "gateway")
        text = json.dumps(pod)
        assert ("keys.json" in text, "ops-shop-keys" in text) == (store is None, store is None)


def test_triton_reaches_neither_the_store_nor_where_traffic_is_kept(layout: Any) -> None:
    shape = layout.shape(store={"url": "redis://redis"}, traffic={"ship_to": "s3://logs"})
    policy = one(render(layout.release("one"), shape), "NetworkPolicy", "triton")["spec"]
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [53, 53]


def test_every_api_of_triton_asks_for_the_secret_that_no_file_has(layout: Any) -> None:
    manifests = render(layout.release("one"), layout.shape())
    triton = container(manifests, "triton")
    (restricted,) = [one for one in triton["args"] if one.startswith("--http-restricted-api=")]
    assert restricted.endswith(":opswright-secret=$(TRITON_SECRET)") and "health" in restricted
    assert "model-repository" in restricted and "--allow-grpc=false" in triton["args"]
    (secret,) = [one for one in triton["env"] if one["name"] == "TRITON_SECRET"]
    assert secret["valueFrom"]["secretKeyRef"] == {"name": "ops-shop-triton", "key": "secret"}


def test_what_runs_can_be_told_from_its_annotations(layout: Any) -> None:
    release = dataclasses.replace(layout.release("one"), plan="b" * 64)
    for found in render(release, layout.shape()).values():
        notes = found["metadata"]["annotations"]
        assert notes["opswright.dev/release-digest"] == release.digest
        assert notes["opswright.dev/bundle"] == str(release.bundle)
        assert notes["opswright.dev/plan"] == "b" * 64


def test_a_plan_alone_restarts_no_pod(layout: Any) -> None:
    release = layout.release("one")
    planned = dataclasses.replace(release, plan="b" * 64)
    for before, after in zip(
        render(release, layout.shape()).values(), render(planned, layout.shape()).values(), strict=True
    ):
        assert before.get("spec") == after.get("spec")


def test_another_release_has_a_triton_of_its_own_and_the_same_gateway(layout: Any) -> None:
    first = render(layout.release("one"), layout.shape())
    second = render(layout.release("two"), layout.shape())
    names = [one(m, "Deployment", "triton")["metadata"]["name"] for m in (first, second)]
    assert len(set(names)) == 2
    assert (
        one(first, "Deployment", "gateway")["spec"]["selector"]
        == (one(second, "Deployment", "gateway")["spec"]["selector"])
    )


def test_a_bundle_for_gpus_asks_for_them_and_runs_in_nvidias_container(layout: Any) -> None:
    needs = GpuNeeds(4, "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3", "/bundle")
    release = dataclasses.replace(layout.release("one"), gpu=needs, target="trtllm")
    triton = container(render(release, layout.shape(triton_image=None)), "triton")
    assert triton["image"] == needs.image and triton["command"] == ["/bundle/triton.sh"]
    assert triton["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert "--load-model=tensorrt_llm" in triton["args"]


def test_autoscaled_pods_have_no_fixed_number(layout: Any) -> None:
    release = layout.release("one")
    for scaling, fixed in (("hpa", False), ("none", True)):
        for part in ("triton", "gateway"):
            spec = one(render(release, layout.shape(scaling=scaling)), "Deployment", part)["spec"]
            assert ("replicas" in spec) is fixed


def test_the_difference_is_that_of_the_objects_not_of_their_numbers(layout: Any) -> None:
    release = layout.release("one")
    wide = as_yaml(render(release, layout.shape(scaling="none")))
    assert difference(wide, wide) == []
    more = as_yaml(render(release, layout.shape(scaling="none", gateway={"replicas": 3})))
    changed = [line for line in difference(wide, more) if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-  replicas: 2", "+  replicas: 3"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("triton", {"memory": "2GB"}),
        ("triton", {"memory": "1Gi"}),
        ("gateway", {"replicas": 5}),
        ("gateway", {"cpu": "-1"}),
        ("gateway_image", "Registry/Gateway:1"),
        ("gateway_image", "gateway:1; rm -rf /"),
        ("kubernetes", "1.24"),
        ("kubernetes", "1.38"),
        ("callers", ["Web"]),
        ("secrets", {"triton": "sk-ABCDEFGHIJKLMNOPQRST"}),
        ("scaling", "keda"),
        ("replicas", 3),
        ("node_selector", {"a": "b"}),
        ("store", {"url": "unix:///tmp/redis.sock"}),
        ("store", {"url": "redis://:word-of-pass@redis"}),
        ("store", {"url": "redis://redis:99999"}),
        ("store", {"url": "redis://redis:0"}),
        ("store", {"url": "redis://re dis"}),
        ("store", {"url": "redis://redis", "private_ca": True}),
        ("traffic", {"ship_to": "/tmp/logs"}),
        ("traffic", {"ship_to": "s3://key:word@logs"}),
    ],
)
def test_a_shape_that_no_cluster_would_take_is_refused_at_once(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        shape_of(**{field: value})


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", "1"), ("500m", "0.5"), ("2Gi", str(2 << 30)), ("1e3", "1000"), ("1E", "1e18"), (".5", "0.5")],
)
def test_quantities_are_read_as_kubernetes_reads_them(text: str, number: str) -> None:
    assert as_number(text) == pytest.approx(float(number))


@pytest.mark.parametrize("text", ["", "2GB", "1 Gi", "Gi", "-1", "0", "1e", "0x1", "1Ei0", "10E", "1e99"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        as_number(text)


def test_a_bundle_that_no_triton_serves_is_refused(layout: Any) -> None:
    with layout.workspace.artifacts.staging() as stage:
        (stage / "engine").mkdir()
        (stage / "engine" / "x").write_text("x")
        bundle = layout.workspace.artifacts.save(BundleRef, stage, {"target": "trtllm"})
    with pytest.raises(AskError, match="no cluster can"):
        ClusterRelease.of(layout.workspace, "shop", "prod", bundle, None, "pvc:a")
