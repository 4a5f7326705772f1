"""What conditions, pods and events of Kubernetes mean here, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from opswright.compute import JobState
from opswright.compute.folder import StatusFile
from opswright.compute.kubernetes.states import status_of, waits_without_a_cause

Json = dict[str, Any]


def condition(kind: str, reason: str = "", message: str = "", status: str = "True") -> Json:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def job(*conditions: Json, **metadata: str) -> Json:
    return {"metadata": {"name": "j", "uid": "u", **metadata}, "status": {"conditions": list(conditions)}}


def pod(phase: str, *conditions: Json, uid: str = "p1", at: str = "1", **state: Json) -> Json:
    status: Json = {"phase": phase, "conditions": list(conditions)}
    if state:
        status["containerStatuses"] = [{"state": state}]
    return {"metadata": {"uid": uid, "creationTimestamp": at}, "spec": {"nodeName": "n7"}, "status": status}


def wrote(
    state: str, code: int | None = None, why: str = "", uid: str = "p1", restarts: int = 0
) -> StatusFile:
    ended = None if state == "running" else 14.0
    return StatusFile(uid, 1, state, code, why, restarts, 10.0, ended)


def ended(code: int, reason: str = "Error", message: str = "") -> Json:
    return {"exitCode": code, "reason": reason, "message": message}


FAILED = condition("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")


@pytest.mark.parametrize(
    ("conditions", "pods", "seen", "state", "message"),
    [
        ([condition("Complete")], [pod("Succeeded")], wrote("exited", 0), "succeeded", "succeeded"),
        ([condition("Complete", status="False")], [pod("Running")], None, "running", ""),
        ([condition("SuccessCriteriaMet")], [pod("Succeeded")], None, "running", ""),
        ([condition("FailureTarget")], [pod("Failed")], None, "running", ""),
        ([FAILED], [pod("Failed")], wrote("exited", 7), "failed", "ended with code 7"),
        ([FAILED], [pod("Failed")], wrote("exited", 143, "terminated"), "cancelled", "stopped from outside"),
        ([FAILED], [], wrote("exited", 143, "terminated"), "cancelled", "stopped from outside"),
        ([FAILED], [], wrote("running"), "lost", "its pod is gone"),
        ([FAILED], [pod("Failed", terminated=ended(137, "OOMKilled"))], None, "failed", "out of memory"),
        (
            [FAILED],
            [pod("Failed", terminated=ended(128, "StartError", "exec: bash"))],
            None,
            "failed",
            "exec: bash",
        ),
        ([FAILED], [pod("Failed", terminated=ended(78))], None, "failed", "code 78 before it could say how"),
        ([FAILED], [pod("Failed")], wrote("running", uid="old"), "lost", "was ended by its node"),
        (
            [condition("Failed", "DeadlineExceeded")],
            [],
            wrote("exited", 143, "terminated"),
            "failed",
            "time limit",
        ),
    ],
)
def test_how_a_job_ended_is_said_by_its_conditions_and_its_own_words(
    conditions: list[Json], pods: list[Json], seen: StatusFile | None, state: str, message: str
) -> None:
    found = status_of(job(*conditions), pods, seen)
    assert found.state == state and message in found.message, found


@pytest.mark.parametrize(
    ("reason", "state", "message"),
    [
        ("PreemptionByScheduler", JobState.CANCELLED, "higher priority"),
        ("EvictionByEvictionAPI", JobState.CANCELLED, "was evicted"),
        ("DeletionByTaintManager", JobState.LOST, "node stopped replying"),
        ("DeletionByPodGC", JobState.LOST, "lost with its node"),
        ("TerminationByKubelet", JobState.CANCELLED, "ended by its node"),
        ("SomethingNew", JobState.CANCELLED, "taken away by the cluster (why)"),
    ],
)
def test_what_the_cluster_took_away_is_no_failure_of_the_program(
    reason: str, state: JobState, message: str
) -> None:
    taken = pod("Failed", condition("DisruptionTarget", reason, "why"), terminated=ended(143))
    found = status_of(job(FAILED), [taken], wrote("exited", 143, "terminated"))
    assert found.state is state and message in found.message and found.reason == reason


@pytest.mark.parametrize(
    ("waiting", "events", "reason", "remedy"),
    [
        (
            pod("Pending", waiting={"reason": "ImagePullBackOff", "message": "not found"}),
            [],
            "ImagePullBackOff",
            "image",
        ),
        (
            pod("Pending", condition("PodScheduled", "Unschedulable", "0/3 nodes", "False")),
            [],
            "Unschedulable",
            "node",
        ),
        (
            pod("Pending", waiting={"reason": "CreateContainerConfigError"}),
            [],
            "CreateContainerConfigError",
            "Secrets",
        ),
        (
            pod("Pending", waiting={"reason": "ContainerCreating"}),
            [("FailedMount", "no pvc")],
            "FailedMount",
            "claim",
        ),
        (pod("Pending", waiting={"reason": "ContainerCreating"}), [], "ContainerCreating", ""),
        (pod("Pending"), [], "", ""),
        (None, [("FailedCreate", "pods is forbidden: exceeded quota: gpus")], "quota", "quota"),
        (None, [("FailedCreate", "violates PodSecurity")], "FailedCreate", "namespace allows"),
        (None, [], "", ""),
    ],
)
def test_a_job_that_waits_says_for_what_and_what_to_do(
    waiting: Json | None, events: list[tuple[str, str]], reason: str, remedy: str
) -> None:
    said = [{"type": "Warning", "reason": why, "message": text, "lastTimestamp": "1"} for why, text in events]
    pods = [waiting] if waiting else []
    found = status_of(job(), pods, None, said)
    assert (found.state, found.reason) == (JobState.PENDING, reason) and remedy in found.remedy
    assert waits_without_a_cause(job(), pods) == (
        reason in ("FailedMount", "ContainerCreating", "quota", "FailedCreate", "")
    )


def test_a_job_that_its_queue_has_not_admitted_waits() -> None:
    found = status_of(job(condition("Suspended", message="no quota")), [], None)
    assert (found.state, found.reason, found.message) == (JobState.PENDING, "Suspended", "no quota")


def test_only_the_last_warning_counts_and_what_is_normal_is_none() -> None:
    said = [
        {
            "type": "Warning",
            "reason": "FailedMount",
            "message": "now",
            "lastTimestamp": "2026-01-02T00:00:00Z",
        },
        {
            "type": "Warning",
            "reason": "FailedScheduling",
            "message": "old",
            "lastTimestamp": "2026-01-01T00:00:00Z",
        },
        {"type": "Normal", "reason": "Pulled", "message": "newest", "eventTime": "2026-01-03T00:00:00Z"},
    ]
    assert status_of(job(), [pod("Pending")], None, said).reason == "FailedMount"


@pytest.mark.parametrize(
    "silent",
    [
        {**pod("Running"), "status": {"phase": "Running", "reason": "NodeLost"}},
        pod("Running", condition("DisruptionTarget", "DeletionByTaintManager")),
        pod("Unknown"),
    ],
)
def test_while_its_node_is_silent_a_job_is_unknown_and_not_failed(silent: Json) -> None:
    found = status_of(job(), [silent], wrote("running"))
    assert found.state is JobState.UNKNOWN and "n7" in found.message


def test_a_pod_that_replaces_another_counts_as_a_restart_before_it_wrote_anything() -> None:
    pods = [pod("Failed", uid="p1", at="1"), pod("Pending", uid="p2", at="2")]
    assert status_of(job(), pods, wrote("exited", 143, "terminated")).restarts == 1
    again = [pods[0], pod("Running", uid="p2", at="2")]
    assert status_of(job(), again, wrote("running", uid="p2", restarts=1)).restarts == 1


def test_a_stale_status_file_does_not_say_how_a_later_pod_ended() -> None:
    later = pod("Failed", uid="p2", at="2", terminated=ended(9))
    found = status_of(job(FAILED), [later], wrote("exited", 0, uid="p1"))
    assert found.state is JobState.FAILED and found.exit_code == 9


def test_a_job_that_is_being_deleted_is_not_over() -> None:
    found = status_of(job(deletionTimestamp="now"), [pod("Running")], wrote("running"))
    assert (found.state, found.reason) == (JobState.RUNNING, "Terminating")
