"""Releases to lay out, and a cluster that is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for fake_cluster

from fake_cluster import FakeCluster, serving

from opswright.core.artifacts import BundleRef, GuardrailRef
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.serving.kubernetes.cluster import Cluster
from opswright.serving.kubernetes.manifests import render
from opswright.serving.kubernetes.release import ClusterRelease
from opswright.serving.kubernetes.rollout import ClusterRollout
from opswright.serving.kubernetes.secret_names import wanted_secrets
from opswright.serving.kubernetes.shape import ClusterShape

NAMESPACE = "prod"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(load_settings(home=tmp_path / "home"))


def bundle_of(workspace: Workspace, weights: str) -> BundleRef:
    """A bundle as the store keeps one; its engine is a text."""
    with workspace.artifacts.staging() as stage:
        (stage / "engine").mkdir()
        (stage / "engine" / "model.onnx").write_text(weights)
        return workspace.artifacts.save(BundleRef, stage, {"target": "onnx-int8"})


def rails_of(workspace: Workspace) -> GuardrailRef:
    with workspace.artifacts.staging() as stage:
        (stage / "config").mkdir()
        (stage / "config" / "config.yml").write_text("rails: {}")
        return workspace.artifacts.save(GuardrailRef, stage, {})


def shape_of(**other: object) -> ClusterShape:
    images = {"gateway_image": "reg.example/gateway:1", "triton_image": "reg.example/triton:1"}
    return ClusterShape.model_validate({**images, **other})


def release_of(workspace: Workspace, weights: str, source: str = "pvc:artifacts") -> ClusterRelease:
    bundle = bundle_of(workspace, weights)
    return ClusterRelease.of(workspace, "shop", NAMESPACE, bundle, rails_of(workspace), source)


@pytest.fixture
def cluster(workspace: Workspace) -> Iterator[FakeCluster]:
    """A cluster with the Secrets that releases of `shop` name."""
    fake = FakeCluster()
    for name in wanted_secrets(release_of(workspace, "any"), shape_of()):
        fake.add("secrets", NAMESPACE, name)
    with serving(fake) as running:
        yield running


def rollout(
    fake: FakeCluster, release: ClusterRelease, shape: ClusterShape | None = None, **options: object
) -> ClusterRollout:
    """A rollout of a release to the stand-in; it waits without pauses."""
    from kubernetes.client import ApiClient, Configuration

    shape = shape or shape_of(scaling="none")
    fake.endpoint_of[release.digest] = (release.endpoint, release.id)
    client = ApiClient(Configuration(host=fake.url))
    settings = {"poll_s": 0.01, "timeout_s": 300.0, **options}
    return ClusterRollout(
        Cluster(client, release.namespace),
        release,
        render(release, shape),
        wanted_secrets(release, shape),
        **settings,  # type: ignore[arg-type]
    )
