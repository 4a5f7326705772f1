"""What the states of Jobs, TrainJobs and their pods mean here.

The controller's conditions say whether a job is over, the status file that the job wrote says how its command
ended, and the pod's conditions say whether somebody else ended it: taken away by the cluster is never told as
failed by the program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..folder import StatusFile
from ..job import JobState, JobStatus
from .client import Json

_AGAIN = "Repeat the step: it goes on from what was saved."
_SHORT = "Its node was short of memory or disk, or was shut down. " + _AGAIN
_TAKEN_AWAY: dict[str, tuple[JobState, str, str]] = {
    "PreemptionByScheduler": (JobState.CANCELLED, "was ended for a pod of higher priority", _AGAIN),
    "EvictionByEvictionAPI": (JobState.CANCELLED, "was evicted, as when a node is drained", _AGAIN),
    "DeletionByTaintManager": (JobState.LOST, "was lost: its node stopped replying or was tainted", _AGAIN),
    "DeletionByPodGC": (JobState.LOST, "was lost with its node", _AGAIN),
    "TerminationByKubelet": (JobState.CANCELLED, "was ended by its node", _SHORT),
}
# Of what a pod may wait for, those that nothing but a person changes.
STUCK = {
    "ErrImagePull": "image",
    "ImagePullBackOff": "image",
    "InvalidImageName": "image",
    "ErrImageNeverPull": "image",
    "CreateContainerConfigError": "configuration",
    "CreateContainerError": "configuration",
    "RunContainerError": "configuration",
    "FailedCreate": "creation",
}
_REMEDIES = {
    "image": "Check compute.kubernetes.image (`docker manifest inspect IMAGE`) and image_pull_secrets.",
    "configuration": "Check that the Secrets and keys of compute.kubernetes.secrets are in the namespace.",
    "creation": "Check what the namespace allows: pod security, the service account, admission rules.",
    "quota": "The namespace's quota is used up: ask for less, or wait until other pods end.",
    "Unschedulable": "No node fits now. Check compute.kubernetes (node_selector, tolerations, memory_gb, "
    "gpu_resource) with `kubectl describe nodes`, or wait for one.",
    "Suspended": "Its queue has not admitted it yet: `kubectl get workloads` says why.",
    "SchedulingGated": "A gate holds it: whoever set the gate lets it go.",
    "FailedMount": "Check compute.kubernetes.claim: `kubectl describe pvc CLAIM`.",
    "FailedScheduling": "No node fits now, or the claim is not bound: `kubectl describe pod` says more.",
}
_INDEX = "batch.kubernetes.io/job-completion-index"
_WITHOUT_A_CAUSE = ("ContainerCreating", "PodInitializing", "Pending")


def status_of(
    job: Json, pods: Sequence[Json], seen: StatusFile | None, events: Sequence[Json] = ()
) -> JobStatus:
    """How a job stands; `seen` is what it last wrote, `events` what the cluster said of it or its pod."""
    pod = telling(pods)
    restarts = _restarts(pod, seen)
    conditions = _true_conditions(job)
    if "Complete" in conditions:
        return _ended(JobState.SUCCEEDED, "Complete", "succeeded", "", seen, restarts, 0)
    if failed := conditions.get("Failed"):
        return _failure(failed, pod, seen, restarts)
    if "deletionTimestamp" in job.get("metadata", {}):
        return JobStatus(state=JobState.RUNNING, reason="Terminating", restarts=restarts)
    if "Suspended" in conditions and pod is None:
        return _waiting("Suspended", conditions["Suspended"].get("message", ""), restarts)
    if pod is None:
        return _waiting(*_last_warning(events), restarts)
    return _of_pod(pod, events, restarts)


def rank_of(pod: Json | None) -> int:
    """Which of a job's nodes a pod is; 0 for the only one."""
    annotations = (pod or {}).get("metadata", {}).get("annotations") or {}
    number = str(annotations.get(_INDEX, "0"))
    return int(number) if number.isdecimal() else 0


def telling(pods: Sequence[Json]) -> Json | None:
    """The pod by which a job stands as it does: the first that failed, else one that waits, else rank 0's.

    Of each node only the pod that was made last counts.
    """
    last: dict[int, Json] = {}
    for pod in sorted(pods, key=_made):
        last[rank_of(pod)] = pod
    by_rank = [last[rank] for rank in sorted(last)]
    phases: dict[str, list[Json]] = {}
    for pod in by_rank:
        phases.setdefault(pod.get("status", {}).get("phase", "Pending"), []).append(pod)
    if failed := phases.get("Failed"):
        return min(failed, key=lambda pod: str(_terminated(pod).get("finishedAt", "~")))
    return next(iter(phases.get("Pending") or by_rank), None)


def _made(pod: Json) -> str:
    return str(pod["metadata"].get("creationTimestamp", ""))


def newest(pods: Sequence[Json]) -> Json | None:
    """The pod that was made last."""
    return max(pods, key=_made, default=None)


def waits_without_a_cause(job: Json, pods: Sequence[Json]) -> bool:
    """Whether only events can say what a job waits for."""
    if any(kind in _true_conditions(job) for kind in ("Complete", "Failed", "Suspended")):
        return False
    pod = telling(pods)
    return pod is None or _pod_waits_for(pod)[0] in _WITHOUT_A_CAUSE


def _of_pod(pod: Json, events: Sequence[Json], restarts: int) -> JobStatus:
    phase = pod.get("status", {}).get("phase", "Pending")
    if phase == "Unknown" or _node_is_silent(pod):
        return JobStatus(
            state=JobState.UNKNOWN,
            reason="node does not reply",
            message=f"Its node {pod.get('spec', {}).get('nodeName', '')} does not reply to the cluster",
            remedy="The job may go on there. Once the node is taken out of the cluster, it starts elsewhere.",
            restarts=restarts,
        )
    if phase == "Running":
        return JobStatus(state=JobState.RUNNING, restarts=restarts)
    if phase in ("Succeeded", "Failed"):
        return JobStatus(state=JobState.RUNNING, reason="Terminating", restarts=restarts)
    reason, message = _pod_waits_for(pod)
    if reason in _WITHOUT_A_CAUSE:
        found = _last_warning(events)
        reason, message = found if found[0] else ("" if reason == "Pending" else reason, message)
    return _waiting(reason, message, restarts)


def _pod_waits_for(pod: Json) -> tuple[str, str]:
    """Reason and message of what a pending pod waits for."""
    status = pod.get("status", {})
    if status.get("phase", "Pending") != "Pending":
        return "", ""
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        if waiting := container.get("state", {}).get("waiting"):
            return waiting.get("reason", "ContainerCreating"), waiting.get("message", "")
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return condition.get("reason", "Unschedulable"), condition.get("message", "")
    return "Pending", ""


def _waiting(reason: str, message: str, restarts: int) -> JobStatus:
    remedy = _REMEDIES.get(STUCK.get(reason, reason), "")
    if reason == "FailedCreate" and "exceeded quota" in message:
        reason, remedy = "quota", _REMEDIES["quota"]
    return JobStatus(state=JobState.PENDING, reason=reason, message=message, remedy=remedy, restarts=restarts)


def _failure(
    failed: Mapping[str, Any], pod: Json | None, seen: StatusFile | None, restarts: int
) -> JobStatus:
    """Of a job that its controller gave up: who or what ended it."""
    reason = failed.get("reason", "")
    if reason == "DeadlineExceeded":
        remedy = "Set a longer OPSWRIGHT_COMPUTE__KUBERNETES__WALLTIME_MINUTES. " + _AGAIN
        message = "reached its time limit and was ended"
        return _ended(JobState.FAILED, reason, message, remedy, seen, restarts, _exit_code(pod))
    if pod is None:
        if seen is not None and seen.state == "exited":
            return seen.ended_as().model_copy(update={"restarts": restarts})
        message = f"is lost: its pod is gone ({failed.get('message', reason)})"
        return _ended(JobState.LOST, reason, message, _AGAIN, seen, restarts, None)
    if taken := _true_conditions(pod).get("DisruptionTarget"):
        why = taken.get("reason", "DisruptionTarget")
        said = taken.get("message", "")
        state, message, remedy = _TAKEN_AWAY.get(
            why, (JobState.CANCELLED, f"was taken away by the cluster ({said or why})", _AGAIN)
        )
        return _ended(state, why, message, remedy, seen, restarts, _exit_code(pod))
    return _failure_of(pod, seen, restarts)


def _failure_of(pod: Json, seen: StatusFile | None, restarts: int) -> JobStatus:
    """Of a pod that nobody took away: how its command ended, by its own words where it had any."""
    status = pod.get("status", {})
    ended = _terminated(pod)
    if ended.get("reason") == "OOMKilled":
        remedy = "Set a larger OPSWRIGHT_COMPUTE__KUBERNETES__MEMORY_GB, or a smaller batch."
        return _ended(JobState.FAILED, "OOMKilled", "ran out of memory", remedy, seen, restarts, 137)
    if seen is not None and seen.id == pod["metadata"]["uid"] and seen.state == "exited":
        said = seen.ended_as()
        where = f"{said.message} on its node {rank}" if (rank := rank_of(pod)) else said.message
        return said.model_copy(update={"restarts": restarts, "message": where})
    code = _exit_code(pod)
    if ended.get("reason") in ("StartError", "ContainerCannotRun"):
        message = f"could not be started: {ended.get('message', '')}"
        remedy = "The image needs bash: check compute.kubernetes.image."
        return _ended(JobState.FAILED, ended["reason"], message, remedy, seen, restarts, code)
    if code is not None:
        message = f"ended with code {code} before it could say how"
        remedy = (
            "Check compute.kubernetes (claim, claim_folder, mount_path, user): its pod may not see or read "
            "its folder."
        )
        return _ended(JobState.FAILED, ended.get("reason", ""), message, remedy, seen, restarts, code)
    reason = status.get("reason", "")
    message = f"was ended by its node ({reason}: {status.get('message', '')})"
    return _ended(JobState.LOST, reason, message, _AGAIN, seen, restarts, None)


def _ended(
    state: JobState,
    reason: str,
    message: str,
    remedy: str,
    seen: StatusFile | None,
    restarts: int,
    exit_code: int | None,
) -> JobStatus:
    took = round(seen.ended - seen.started, 3) if seen is not None and seen.ended is not None else None
    return JobStatus(
        state=state,
        reason=reason,
        message=message,
        remedy=remedy,
        exit_code=exit_code,
        restarts=restarts,
        seconds=took,
    )


def _restarts(pod: Json | None, seen: StatusFile | None) -> int:
    """How often it was started again: what the last start counted, and one more where a newer pod waits."""
    if seen is None:
        return 0
    return seen.restarts + (pod is not None and pod["metadata"]["uid"] != seen.id)


def _true_conditions(thing: Json) -> dict[str, Json]:
    conditions = thing.get("status", {}).get("conditions") or ()
    return {one["type"]: one for one in conditions if one.get("status") == "True"}


def _node_is_silent(pod: Json) -> bool:
    status = pod.get("status", {})
    if status.get("phase") != "Running" or "Ready" in _true_conditions(pod):
        return False
    taken = _true_conditions(pod).get("DisruptionTarget", {})
    return status.get("reason") == "NodeLost" or taken.get("reason") == "DeletionByTaintManager"


def _terminated(pod: Json) -> Json:
    for container in pod.get("status", {}).get("containerStatuses", ()):
        for key in ("state", "lastState"):
            if ended := container.get(key, {}).get("terminated"):
                found: Json = ended
                return found
    return {}


def _exit_code(pod: Json | None) -> int | None:
    code = _terminated(pod).get("exitCode") if pod is not None else None
    return int(code) if code is not None else None


def _last_warning(events: Sequence[Json]) -> tuple[str, str]:
    """Reason and message of the last thing that went wrong, ('', '') for nothing."""
    warnings = [event for event in events if event.get("type") == "Warning"]
    last = max(
        warnings,
        key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""),
        default={},
    )
    return str(last.get("reason", "")), str(last.get("message", ""))
