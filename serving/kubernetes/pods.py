"""What a cluster says of workloads and pods: how far a rollout is, and why it does not go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .objects import Manifest

_STUCK = frozenset({"ProgressDeadlineExceeded"})


@dataclass(frozen=True)
class Progress:
    """How many pods run what was applied, of how many that should."""

    ready: int = 0
    wanted: int = 1
    is_done: bool = False
    is_stuck: bool = False
    message: str = ""


def progress_of(workload: Manifest | None) -> Progress:
    """The progress of a Deployment or InferenceService; nothing is done while the object is not there."""
    if workload is None:
        return Progress(message="it is not there")
    status = workload.get("status", {})
    is_seen = status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 1)
    if workload["kind"] == "InferenceService":
        ready = _condition(workload, "Ready")
        is_done = is_seen and ready.get("status") == "True"
        return Progress(int(is_done), 1, is_done, message=ready.get("message", ""))
    wanted = workload["spec"].get("replicas", 1)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    is_done = is_seen and updated == status.get("replicas", 0) == wanted == available
    going = _condition(workload, "Progressing")
    is_stuck = is_seen and going.get("reason") in _STUCK
    return Progress(min(updated, available), wanted, is_done, is_stuck, going.get("message", ""))


def is_ready(pod: Manifest) -> bool:
    """Whether a pod answers its readiness probe."""
    return _condition(pod, "Ready").get("status") == "True"


def trouble_of(pods: Iterable[Manifest]) -> list[str]:
    """Why pods do not become ready, each reason once: images, crashes, places to run."""
    return list(dict.fromkeys(reason for pod in pods for reason in _reasons(pod)))[:5]


def _reasons(pod: Manifest) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield f"{name} has no node: {scheduled.get('message', scheduled.get('reason', ''))}"
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        waiting = container.get("state", {}).get("waiting", {})
        ended = container.get("lastState", {}).get("terminated", {}) or container.get("state", {}).get(
            "terminated", {}
        )
        if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            yield f"{name}/{container['name']}: {waiting['reason']} {waiting.get('message', '')}".strip()
        if ended.get("exitCode"):
            message = ended.get("message", ended.get("reason", ""))
            yield f"{name}/{container['name']} ended with exit code {ended['exitCode']} {message}".strip()


def _condition(found: Manifest, kind: str) -> dict[str, str]:
    conditions = found.get("status", {}).get("conditions", ())
    return next((dict(one) for one in conditions if one["type"] == kind), {})
