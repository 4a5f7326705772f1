"""A release on a cluster: tried first, applied in order, proven pod by pod, and undone when it is not."""

from __future__ import annotations

import pytest
from conftest import NAMESPACE, release_of, rollout, shape_of
from fake_cluster import DIGEST, FakeCluster

from opswright.core.errors import BackendError, HeldError, NeedsError
from opswright.core.workspace import Workspace


def gateway(cluster: FakeCluster) -> dict[str, str]:
    found: dict[str, str] = cluster.objects["deployments", NAMESPACE, "ops-shop-gateway"]["spec"]["template"][
        "metadata"
    ]["annotations"]
    return found


def test_a_first_release_is_applied_and_every_pod_is_proven(
    workspace: Workspace, cluster: FakeCluster
) -> None:
    release = release_of(workspace, "one")
    done = rollout(cluster, release).run()
    assert done.gateway_pods == ("ops-shop-gateway-pod0", "ops-shop-gateway-pod1")
    assert len(done.triton_pods) == 2 and done.former_digest == "" and done.removed == ()
    assert gateway(cluster)[DIGEST] == release.digest
    assert cluster.secrets_read == 0


def test_triton_answers_before_the_gateway_is_given_the_release(
    workspace: Workspace, cluster: FakeCluster
) -> None:
    release = release_of(workspace, "one")
    cluster.ails.add("never")
    with pytest.raises(BackendError, match="pods of triton were not ready"):
        rollout(cluster, release, timeout_s=0.05).run()
    applied = [name for call, name in cluster.calls if call == "apply"]
    assert not any("gateway" in name and name.startswith("deployments") for name in applied)


def test_a_new_release_stands_beside_the_former_which_leaves_afterwards(
    workspace: Workspace, cluster: FakeCluster
) -> None:
    first, second = release_of(workspace, "one"), release_of(workspace, "two")
    rollout(cluster, first).run()
    done = rollout(cluster, second).run()
    assert done.former_digest == first.digest
    assert f"Deployment {first.name('triton', of_release=True)}" in done.removed
    assert cluster.names("deployments") == ["ops-shop-gateway", second.name("triton", of_release=True)]
    order = [name for call, name in cluster.calls if call == "delete"]
    last_apply = max(number for number, (call, _) in enumerate(cluster.calls) if call == "apply")
    assert all(cluster.calls.index(("delete", name)) > last_apply for name in order)


def test_what_does_not_come_up_is_undone_and_says_why(workspace: Workspace, cluster: FakeCluster) -> None:
    first, second = release_of(workspace, "one"), release_of(workspace, "two")
    rollout(cluster, first).run()
    before = set(cluster.objects)
    cluster.endpoint_of.clear()
    cluster.ails.add("image")
    with pytest.raises(BackendError, match="ImagePullBackOff no such image"):
        rollout(cluster, second).run()
    assert {key for key in cluster.objects if key[0] != "pods"} == {key for key in before if key[0] != "pods"}
    assert gateway(cluster)[DIGEST] == first.digest


def test_a_pod_that_answers_with_another_release_undoes_all(
    workspace: Workspace, cluster: FakeCluster
) -> None:
    first, second = release_of(workspace, "one"), release_of(workspace, "two")
    rollout(cluster, first).run()
    cluster.ails.add("liar")
    with pytest.raises(BackendError, match="gateway-pod1 does not answer with release"):
        rollout(cluster, second).run()
    assert gateway(cluster)[DIGEST] == first.digest
    assert second.name("triton", of_release=True) not in cluster.names("deployments")
    assert first.name("triton", of_release=True) in cluster.names("deployments")


def test_the_server_tries_everything_before_anything_changes(
    workspace: Workspace, cluster: FakeCluster
) -> None:
    cluster.ails.add("quota")
    with pytest.raises(NeedsError, match="exceeded quota"):
        rollout(cluster, release_of(workspace, "one")).run()
    assert cluster.calls == [] and cluster.tried > 0


def test_a_missing_secret_is_named_with_the_command_that_makes_it(
    workspace: Workspace, cluster: FakeCluster
) -> None:
    del cluster.objects["secrets", NAMESPACE, "ops-shop-triton"]
    with pytest.raises(NeedsError, match="kubectl -n prod create secret generic ops-shop-triton"):
        rollout(cluster, release_of(workspace, "one")).run()
    assert cluster.calls == []


def test_a_kind_that_is_not_installed_is_named_first(workspace: Workspace, cluster: FakeCluster) -> None:
    cluster.ails.add("ServiceMonitor")
    with pytest.raises(NeedsError, match="Prometheus Operator"):
        rollout(cluster, release_of(workspace, "one")).run()
    assert cluster.tried == 0
    shape = shape_of(scaling="none", service_monitor=False)
    assert rollout(cluster, release_of(workspace, "one"), shape).run().gateway_pods


def test_what_another_tool_owns_is_changed_only_when_that_is_asked_for(
    workspace: Workspace, cluster: FakeCluster
) -> None:
    release = release_of(workspace, "one")
    rollout(cluster, release).run()
    cluster.owners["deployments", NAMESPACE, "ops-shop-gateway"]["replicas"] = "kubectl"
    cluster.objects["deployments", NAMESPACE, "ops-shop-gateway"]["spec"]["replicas"] = 7
    with pytest.raises(HeldError, match='conflict with "kubectl".*take_over=true'):
        rollout(cluster, release).run()
    assert len(rollout(cluster, release, take_over=True).run().gateway_pods) == 2


def test_the_same_release_again_changes_nothing_of_what_runs(
    workspace: Workspace, cluster: FakeCluster
) -> None:
    release = release_of(workspace, "one")
    rollout(cluster, release).run()
    generations = {key: one["metadata"].get("generation") for key, one in cluster.objects.items()}
    again = rollout(cluster, release).run()
    assert again.former_digest == release.digest and again.removed == ()
    assert generations == {key: one["metadata"].get("generation") for key, one in cluster.objects.items()}


def test_a_stopped_call_is_undone(workspace: Workspace, cluster: FakeCluster) -> None:
    first, second = release_of(workspace, "one"), release_of(workspace, "two")
    rollout(cluster, first).run()

    def stop() -> None:
        if second.name("triton", of_release=True) in cluster.names("deployments"):
            raise HeldError("stopped by a person")

    with pytest.raises(HeldError, match="stopped by a person"):
        rollout(cluster, second, check=stop).run()
    assert cluster.names("deployments") == ["ops-shop-gateway", first.name("triton", of_release=True)]


def test_objects_of_others_in_the_namespace_are_left_alone(
    workspace: Workspace, cluster: FakeCluster
) -> None:
    cluster.add("deployments", NAMESPACE, "billing", metadata={"labels": {"app": "billing"}}, spec={})
    labels = {"app.kubernetes.io/instance": "ops-shop", "app.kubernetes.io/managed-by": "helm"}
    cluster.add("services", NAMESPACE, "ops-shop-public", metadata={"labels": labels}, spec={})
    rollout(cluster, release_of(workspace, "one")).run()
    rollout(cluster, release_of(workspace, "two")).run()
    assert "billing" in cluster.names("deployments") and "ops-shop-public" in cluster.names("services")


def test_a_cluster_that_is_not_there_is_said_in_words(workspace: Workspace, cluster: FakeCluster) -> None:
    one = rollout(cluster, release_of(workspace, "one"))
    one.cluster._client.configuration.host = "http://127.0.0.1:1"
    one.cluster._client.configuration.retries = 0
    with pytest.raises(BackendError, match="the cluster does not answer"):
        one.run()
