"""A release on a cluster: tried first, applied in order, proven pod by pod, and undone when it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from opswright.core.errors import BackendError, HeldError, NeedsError
from opswright.serving.kubernetes.rollout import ClusterRollout

NAMESPACE = "prod"
DIGEST = "opswright.dev/release-digest"
Make = Callable[..., ClusterRollout]


def gateway(cluster: Any) -> dict[str, str]:
    found: dict[str, str] = cluster.objects["deployments", NAMESPACE, "ops-shop-gateway"]["spec"]["template"][
        "metadata"
    ]["annotations"]
    return found


def test_a_first_release_is_applied_and_every_pod_is_proven(layout: Any, cluster: Any, rollout: Make) -> None:
    release = layout.release("one")
    done = rollout(release).run()
    assert done.gateway_pods == ("ops-shop-gateway-pod0", "ops-shop-gateway-pod1")
    assert len(done.triton_pods) == 2 and done.former_digest == "" and done.removed == ()
    assert gateway(cluster)[DIGEST] == release.digest
    assert cluster.secrets_read == 0


def test_triton_answers_before_the_gateway_is_given_the_release(
    layout: Any, cluster: Any, rollout: Make
) -> None:
    release = layout.release("one")
    cluster.ails.add("never")
    with pytest.raises(BackendError, match="pods of triton were not ready"):
        rollout(release, timeout_s=0.05).run()
    applied = [name for call, name in cluster.calls if call == "apply"]
    assert not any("gateway" in name and name.startswith("deployments") for name in applied)


def test_a_new_release_stands_beside_the_former_which_leaves_afterwards(
    layout: Any, cluster: Any, rollout: Make
) -> None:
    first, second = layout.release("one"), layout.release("two")
    rollout(first).run()
    done = rollout(second).run()
    assert done.former_digest == first.digest
    assert f"Deployment {first.name('triton', of_release=True)}" in done.removed
    assert cluster.names("deployments") == ["ops-shop-gateway", second.name("triton", of_release=True)]
    order = [name for call, name in cluster.calls if call == "delete"]
    last_apply = max(number for number, (call, _) in enumerate(cluster.calls) if call == "apply")
    assert all(cluster.calls.index(("delete", name)) > last_apply for name in order)


def test_what_does_not_come_up_is_undone_and_says_why(layout: Any, cluster: Any, rollout: Make) -> None:
    first, second = layout.release("one"), layout.release("two")
    rollout(first).run()
    before = set(cluster.objects)
    cluster.endpoint_of.clear()
    cluster.ails.add("image")
    with pytest.raises(BackendError, match="ImagePullBackOff no such image"):
        rollout(second).run()
    assert {key for key in cluster.objects if key[0] != "pods"} == {key for key in before if key[0] != "pods"}
    assert gateway(cluster)[DIGEST] == first.digest


def test_a_pod_that_answers_with_another_release_undoes_all(layout: Any, cluster: Any, rollout: Make) -> None:
    first, second = layout.release("one"), layout.release("two")
    rollout(first).run()
    cluster.ails.add("liar")
    with pytest.raises(BackendError, match="gateway-pod1 does not answer with release"):
        rollout(second).run()
    assert gateway(cluster)[DIGEST] == first.digest
    assert second.name("triton", of_release=True) not in cluster.names("deployments")
    assert first.name("triton", of_release=True) in cluster.names("deployments")


def test_the_server_tries_everything_before_anything_changes(
    layout: Any, cluster: Any, rollout: Make
) -> None:
    cluster.ails.add("quota")
    with pytest.raises(NeedsError, match="exceeded quota"):
        rollout(layout.release("one")).run()
    assert cluster.calls == [] and cluster.tried > 0


def test_a_missing_secret_is_named_with_the_command_that_makes_it(
    layout: Any, cluster: Any, rollout: Make
) -> None:
    del cluster.objects["secrets", NAMESPACE, "ops-shop-triton"]
    with pytest.raises(NeedsError, match="kubectl -n prod create secret generic ops-shop-triton"):
        rollout(layout.release("one")).run()
    assert cluster.calls == []


def test_a_kind_that_is_not_installed_is_named_first(layout: Any, cluster: Any, rollout: Make) -> None:
    cluster.ails.add("ServiceMonitor")
    with pytest.raises(NeedsError, match="Prometheus Operator"):
        rollout(layout.release("one")).run()
    assert cluster.tried == 0
    shape = layout.shape(scaling="none", service_monitor=False)
    assert rollout(layout.release("one"), shape).run().gateway_pods


def test_what_another_tool_owns_is_changed_only_when_that_is_asked_for(
    layout: Any, cluster: Any, rollout: Make
) -> None:
    release = layout.release("one")
    rollout(release).run()
    cluster.owners["deployments", NAMESPACE, "ops-shop-gateway"]["replicas"] = "kubectl"
    cluster.objects["deployments", NAMESPACE, "ops-shop-gateway"]["spec"]["replicas"] = 7
    with pytest.raises(HeldError, match=r'conflict with "kubectl".*take_over=true'):
        rollout(release).run()
    assert len(rollout(release, take_over=True).run().gateway_pods) == 2


def test_the_same_release_again_changes_nothing_of_what_runs(
    layout: Any, cluster: Any, rollout: Make
) -> None:
    release = layout.release("one")
    rollout(release).run()
    generations = {key: one["metadata"].get("generation") for key, one in cluster.objects.items()}
    again = rollout(release).run()
    assert again.former_digest == release.digest and again.removed == ()
    assert generations == {key: one["metadata"].get("generation") for key, one in cluster.objects.items()}


def test_a_stopped_call_is_undone(layout: Any, cluster: Any, rollout: Make) -> None:
    first, second = layout.release("one"), layout.release("two")
    rollout(first).run()

    def stop() -> None:
        if second.name("triton", of_release=True) in cluster.names("deployments"):
            raise HeldError("stopped by a person")

    with pytest.raises(HeldError, match="stopped by a person"):
        rollout(second, check=stop).run()
    assert cluster.names("deployments") == ["ops-shop-gateway", first.name("triton", of_release=True)]


def test_objects_of_others_in_the_namespace_are_left_alone(layout: Any, cluster: Any, rollout: Make) -> None:
    cluster.add("deployments", NAMESPACE, "billing", metadata={"labels": {"app": "billing"}}, spec={})
    labels = {"app.kubernetes.io/instance": "ops-shop", "app.kubernetes.io/managed-by": "helm"}
    cluster.add("services", NAMESPACE, "ops-shop-public", metadata={"labels": labels}, spec={})
    rollout(layout.release("one")).run()
    rollout(layout.release("two")).run()
    assert "billing" in cluster.names("deployments") and "ops-shop-public" in cluster.names("services")


def test_a_cluster_that_is_not_there_is_said_in_words(layout: Any, cluster: Any, rollout: Make) -> None:
    one = rollout(layout.release("one"))
    one.cluster._client.configuration.host = "http://127.0.0.1:1"
    one.cluster._client.configuration.retries = 0
    with pytest.raises(BackendError, match="the cluster does not answer"):
        one.run()


def test_undoing_leaves_the_autoscaler_its_number_of_pods(layout: Any, cluster: Any, rollout: Make) -> None:
    first, second = layout.release("one"), layout.release("two")
    scaled = layout.shape(scaling="hpa")
    rollout(first, scaled).run()
    found = cluster.objects["deployments", NAMESPACE, "ops-shop-gateway"]
    found["spec"]["replicas"] = 2
    cluster.owners["deployments", NAMESPACE, "ops-shop-gateway"]["replicas"] = "autoscaler"
    cluster.ails.add("liar")
    with pytest.raises(BackendError, match="does not answer with release"):
        rollout(second, scaled).run()
    after = cluster.objects["deployments", NAMESPACE, "ops-shop-gateway"]
    assert after["spec"]["replicas"] == 2
    assert cluster.owners["deployments", NAMESPACE, "ops-shop-gateway"]["replicas"] == "autoscaler"
