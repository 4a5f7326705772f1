"""A release applied to a cluster: tried by the server first, then applied in order, waited for, and proven.

Users get the former release until pods of the new one have answered; what does not come up is undone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import BackendError, NeedsError, OpswrightError
from . import gateway_pods, triton_pods
from .cluster import KINDS, Cluster
from .objects import FIELD_OWNER, Manifest
from .pods import Progress, is_ready, progress_of, trouble_of
from .release import DOMAIN, ClusterRelease

_SERVER_SIDE = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")
_WORKLOADS = ("Deployment", "InferenceService")
_OLD_PODS_S = 90.0  # longer than a gateway may take to end
_PROVIDERS = {
    "ScaledObject": "KEDA, or set shape.scaling to hpa",
    "ServiceMonitor": "the Prometheus Operator, or set shape.service_monitor to false",
    "InferenceService": "KServe, or set shape.kserve to false",
}


@dataclass(frozen=True)
class Applied:
    """What was proven: the pods that answer with the release, and what of earlier releases was removed."""

    gateway_pods: tuple[str, ...]
    triton_pods: tuple[str, ...]
    removed: tuple[str, ...]
    former_digest: str


@dataclass
class ClusterRollout:
    """One release on its way to one namespace. `check` raises when the caller was cancelled."""

    cluster: Cluster
    release: ClusterRelease
    manifests: Mapping[str, Manifest]
    secrets: Mapping[str, str] = field(default_factory=dict)  # names, each with the command that makes it
    take_over: bool = False
    timeout_s: float = 1800
    poll_s: float = 2.0
    say: Callable[[str], None] = lambda line: None
    progress: Callable[[float, float, str], None] = lambda done, total, unit: None
    check: Callable[[], None] = lambda: None

    def run(self) -> Applied:
        """Apply, wait, prove; whatever fails on the way is undone and raised."""
        self._deadline = time.monotonic() + self.timeout_s
        self._preconditions()
        before = {file: self._as_it_was(one) for file, one in self.manifests.items()}
        former = self._former()
        touched: list[str] = []
        try:
            self._apply_all(touched)
            self._await_rollout(gateway_pods.PART)
            gateways, tritons = self._prove_gateways(), self._triton_pods()
        except BaseException as error:
            self._undo(touched, before, error)
            raise
        try:
            removed = self._remove_others()
        except OpswrightError as error:  # what is served was proven
            self.say(f"what earlier releases left was not removed: {error}")
            removed = ()
        return Applied(gateways, tritons, removed, former)

    def _preconditions(self) -> None:
        """What can be known before anything changes: kinds, Secrets, and the server's own judgement."""
        for kind in sorted({one["kind"] for one in self.manifests.values()} & _PROVIDERS.keys()):
            if not self.cluster.has_kind(kind):
                raise NeedsError(f"the cluster has no kind {kind}: install {_PROVIDERS[kind]}.")
        missing = [name for name in self.secrets if not self.cluster.exists("Secret", name)]
        if missing:
            commands = "\n".join(f"  {self.secrets[name]}" for name in missing)
            where = f"namespace {self.cluster.namespace} has no Secret {', '.join(missing)}"
            raise NeedsError(f"{where}. Make them first; they are never written to a file:\n{commands}")
        for one in self.manifests.values():
            self.cluster.apply(one, force=self.take_over, only_try=True)
        self.say(f"the cluster would take all {len(self.manifests)} objects")

    def _apply_all(self, touched: list[str]) -> None:
        """Each object in order; the gateway is given the release once its Triton answers with it."""
        for file, one in self.manifests.items():
            if one["kind"] == "Deployment" and one["metadata"]["name"] == self._name(gateway_pods.PART):
                self._await_rollout(triton_pods.PART)
            self.check()
            touched.append(file)
            self.cluster.apply(one, force=self.take_over)
        self.say(f"applied {len(touched)} objects to namespace {self.cluster.namespace}")

    def _name(self, part: str) -> str:
        return self.release.name(part, of_release=part == triton_pods.PART)

    def _await_rollout(self, part: str) -> None:
        """Until the pods of a part run what was applied; BackendError with the reason when they will not."""
        name = self._name(part)
        kind = next(
            one["kind"]
            for one in self.manifests.values()
            if one["kind"] in _WORKLOADS and one["metadata"]["name"] == name
        )
        while True:
            self.check()
            found = progress_of(self.cluster.get(kind, name))
            self.progress(found.ready, found.wanted, f"pods of {part}")
            if found.is_done:
                return
            self._pause(part, found)

    def _pause(self, part: str, found: Progress) -> None:
        if not found.is_stuck and time.monotonic() < self._deadline:
            time.sleep(self.poll_s)
            return
        why = "; ".join(trouble_of(self._pods(part))) or found.message or "no pod says why"
        when = "gave up" if found.is_stuck else f"were not ready within {self.timeout_s:.0f} s"
        raise BackendError(f"pods of {part} {when} ({found.ready} of {found.wanted} ready): {why}")

    def _pods(self, part: str) -> list[Manifest]:
        """The living pods of a part that were made for this release."""
        found = self.cluster.objects("Pod", self.release.labels(part))
        return [one for one in found if self._is_of_release(one) and not _is_leaving(one)]

    def _is_of_release(self, one: Manifest) -> bool:
        annotations = one["metadata"].get("annotations", {})
        return bool(annotations.get(f"{DOMAIN}/release-digest") == self.release.digest)

    def _prove_gateways(self) -> tuple[str, ...]:
        """Ask each gateway pod which release answers through it; BackendError when one says another."""
        found = self.cluster.objects("Pod", self.release.labels(gateway_pods.PART))
        pods = [one for one in found if not _is_leaving(one)]
        if not pods:
            raise BackendError("no gateway pod is there, although its rollout ended")
        for one in pods:
            name = one["metadata"]["name"]
            status, answer = self.cluster.ask_pod(name, gateway_pods.PORT, "/readyz")
            serves = answer.get("serves") if isinstance(answer, dict) else None
            if not self._is_of_release(one) or serves != self.release.serves:
                said = f"status {status}: {answer}" if serves is None else f"it serves {serves[:12]}"
                raise BackendError(
                    f"gateway pod {name} does not answer with release {self.release.id} "
                    f"({self.release.serves[:12]}): {said}"
                )
        self.say(f"{len(pods)} gateway pods answer with release {self.release.id}")
        return tuple(sorted(one["metadata"]["name"] for one in pods))

    def _triton_pods(self) -> tuple[str, ...]:
        """Triton's pods, each ready by its own probe, which asks for the release's answer."""
        pods = self._pods(triton_pods.PART)
        if idle := [one["metadata"]["name"] for one in pods if not is_ready(one)] or not pods:
            raise BackendError(f"Triton's pods are not ready: {idle if pods else 'there are none'}")
        return tuple(sorted(one["metadata"]["name"] for one in pods))

    def _as_it_was(self, one: Manifest) -> Manifest | None:
        """An object as it is before this release, fit to be applied again; None when it is new."""
        found = self.cluster.get(one["kind"], one["metadata"]["name"])
        if found is None:
            return None
        metadata = {name: value for name, value in found["metadata"].items() if name not in _SERVER_SIDE}
        kept = {name: value for name, value in found.items() if name != "status"}
        if "spec" in kept and "replicas" not in one.get("spec", {}):  # the autoscaler's, then and now
            kept["spec"] = {name: value for name, value in kept["spec"].items() if name != "replicas"}
        return {**kept, "apiVersion": one["apiVersion"], "kind": one["kind"], "metadata": metadata}

    def _former(self) -> str:
        """The digest of the release that the gateway has now; empty for none."""
        found = self.cluster.get("Deployment", self._name(gateway_pods.PART))
        annotations = {} if found is None else found["metadata"].get("annotations", {})
        return str(annotations.get(f"{DOMAIN}/release-digest", ""))

    def _undo(self, touched: list[str], before: Mapping[str, Manifest | None], why: BaseException) -> None:
        """Put back what was there, the last change first; what cannot be put back is named."""
        left: list[str] = []
        for file in reversed(touched):
            one, was = self.manifests[file], before[file]
            name = f"{one['kind']} {one['metadata']['name']}"
            try:
                if was is None:
                    self.cluster.delete(one["kind"], one["metadata"]["name"])
                elif was.get("immutable") is not True:
                    self.cluster.apply(was, force=True)
            except OpswrightError as error:
                left.append(f"{name} ({error})")
        if not touched:
            return
        self.say(f"undone, {len(touched) - len(left)} of {len(touched)} objects are as they were: {why}")
        if left:
            raise BackendError(
                f"{why}\nand undoing it failed for {'; '.join(left)}. Look at namespace "
                f"{self.cluster.namespace}."
            ) from why

    def _remove_others(self) -> tuple[str, ...]:
        """Remove what only earlier releases of the endpoint needed, once their last gateway pod is gone."""
        deadline = time.monotonic() + _OLD_PODS_S
        labels = self.release.labels(gateway_pods.PART)
        while not all(self._is_of_release(one) for one in self.cluster.objects("Pod", labels)):
            if time.monotonic() > deadline:
                self.say("pods of the former release are still there: nothing of it is removed")
                return ()
            time.sleep(self.poll_s)
        kept = {(one["kind"], one["metadata"]["name"]) for one in self.manifests.values()}
        owned: dict[str, Any] = {
            "app.kubernetes.io/instance": f"ops-{self.release.endpoint}",
            "app.kubernetes.io/managed-by": FIELD_OWNER,
        }
        removed = []
        for kind in KINDS:
            for one in self.cluster.objects(kind, owned):
                name = one["metadata"]["name"]
                if (kind, name) not in kept:
                    self.cluster.delete(kind, name)
                    removed.append(f"{kind} {name}")
        return tuple(removed)


def _is_leaving(pod: Manifest) -> bool:
    return "deletionTimestamp" in pod["metadata"]
