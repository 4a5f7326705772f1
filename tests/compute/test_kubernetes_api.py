"""Faults of the API between us and a job: lost answers, busy servers, names that others took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opswright.compute import JobState
from opswright.compute.kubernetes import KubernetesCompute
from opswright.compute.kubernetes.client import JOBS, open_cluster
from opswright.core.errors import AskError, BackendError, IntegrityError
from opswright.core.settings.compute import KubernetesSettings

from .cluster_jobs import WORK, MakeJob, begin, starts, with_
from .fake_cluster import FakeCluster, Fault

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST", "/jobs", 500, times=2),
        Fault("POST", "/jobs", 429, times=2, headers={"Retry-After": "0"}),
        Fault("POST", "/jobs", 503, after=True),
        Fault("POST", "/jobs", after=True),
        Fault("POST", "/jobs", cut=True),
    ],
    ids=["500 twice", "429 twice", "503 though it was made", "no reply though it was made", "answer cut off"],
)
def test_a_creation_that_fails_on_its_way_makes_one_job(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, bash_job: MakeJob, wait: Any, fault: Fault
) -> None:
    is_silent = not fault.code and not fault.cut
    backend = with_(kubernetes_settings, timeout_s=5.0 if is_silent else 60.0)
    fake.faults.append(fault)
    job = bash_job("echo $$ >> started")
    assert wait.end(backend, backend.submit(job)).state is JobState.SUCCEEDED
    assert len(fake.objects("jobs")) == 1 and starts(job) == 1


def test_an_api_that_stays_away_fails_the_step_and_the_job_is_found_later(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, bash_job: MakeJob, wait: Any
) -> None:
    backend, brief = with_(kubernetes_settings), with_(kubernetes_settings, timeout_s=0.5)
    lost = Fault("POST", "/jobs", after=True)
    fake.faults += [lost, Fault("POST", "/jobs", 500, times=99), away := Fault("GET", "/jobs", 500, times=99)]
    job = bash_job("echo $$ >> started")
    with pytest.raises(BackendError, match="did not take job test"):
        brief.submit(job)
    with pytest.raises(BackendError, match="may have been submitted to Kubernetes, and the cluster cannot"):
        brief.find(job)
    away.times = 0
    found = backend.find(job)
    assert found is not None and wait.end(backend, found).state is JobState.SUCCEEDED and starts(job) == 1


def test_a_job_that_was_made_and_cannot_be_asked_for_is_found_later(
    fake: FakeCluster, kubernetes: KubernetesCompute, bash_job: MakeJob, wait: Any
) -> None:
    fake.faults += [Fault("POST", "/jobs", 503, after=True), Fault("GET", "/jobs", 500)]
    job = bash_job("echo $$ >> started")
    with pytest.raises(BackendError, match="it is found again"):  # the second request is a conflict
        kubernetes.submit(job)
    found = kubernetes.find(job)
    assert found is not None and wait.end(kubernetes, found).state is JobState.SUCCEEDED and starts(job) == 1


def test_a_name_that_another_workspace_took_is_not_attached_to(
    fake: FakeCluster, kubernetes: KubernetesCompute, bash_job: MakeJob, wait: Any, tmp_path: Path
) -> None:
    first = begin(kubernetes, bash_job(WORK, key="theirs"), wait)
    theirs = next(one for one in fake.objects("jobs"))
    theirs["metadata"]["annotations"]["opswright/token"] = "f" * 32
    assert kubernetes.poll(first).state is JobState.UNKNOWN  # no longer ours to judge
    kubernetes.cancel(first)
    assert "deletionTimestamp" not in theirs["metadata"]
    fake.faults.append(Fault("POST", "/jobs", 409))
    with pytest.raises(AskError, match="the cluster refused job test"):
        kubernetes.submit(bash_job("true", key="ours"))
    assert kubernetes.find(bash_job("true", key="ours")) is None


def test_what_the_cluster_refuses_is_told_in_its_words(
    fake: FakeCluster, kubernetes: KubernetesCompute, bash_job: MakeJob
) -> None:
    fake.faults.append(Fault("POST", "/jobs", 403))
    with pytest.raises(AskError, match=r"refused job test: .*\(403\): injected 403"):
        kubernetes.submit(bash_job("true"))


def test_a_manifest_with_a_fault_is_not_sent(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, bash_job: MakeJob
) -> None:
    backend = with_(kubernetes_settings, service_account="Trainer_1", tolerations=({"efect": "NoSchedule"},))
    job = bash_job("true")
    with pytest.raises(AskError, match="efect"):
        backend.submit(job)
    assert not [one for one in fake.requests if one[0] == "POST"] and backend.find(job) is None


def test_deleting_takes_only_the_object_that_was_looked_at(
    fake: FakeCluster,
    kubernetes: KubernetesCompute,
    kubernetes_settings: KubernetesSettings,
    bash_job: MakeJob,
) -> None:
    handle = kubernetes.submit(bash_job("sleep 300"))
    cluster = open_cluster(kubernetes_settings)
    cluster.delete(JOBS, handle.id, "the uid of another")
    assert "deletionTimestamp" not in fake.objects("jobs")[0]["metadata"]
    cluster.delete(JOBS, handle.id, handle.facts["uid"])
    cluster.delete(JOBS, "never-made", "x")
    assert cluster.read(JOBS, "never-made") is None


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", "/jobs", 500),
        Fault("GET", "/jobs", 410),
        Fault("GET", "/jobs", 429, headers={"Retry-After": "3600"}),
        Fault("GET", "/jobs"),
        Fault("GET", "/pods", 403),
        Fault("GET", "/jobs", cut=True),
    ],
    ids=["500", "410", "429 for an hour", "no reply", "pods may not be read", "cut off"],
)
def test_while_the_api_is_in_trouble_the_job_is_unknown_and_afterwards_it_is_there(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, bash_job: MakeJob, wait: Any, fault: Fault
) -> None:
    backend, brief = with_(kubernetes_settings), with_(kubernetes_settings, timeout_s=1.0)
    handle = begin(backend, job := bash_job(WORK), wait)
    fake.faults.append(fault)
    status = (brief if fault.code == 0 and not fault.cut else backend).poll(handle)
    assert status.state is JobState.UNKNOWN and status.remedy
    assert backend.poll(handle).state is JobState.RUNNING
    (job.folder / "go").touch()
    assert wait.end(backend, handle).state is JobState.SUCCEEDED


def test_a_job_that_ended_while_the_api_was_away_says_so_itself(
    fake: FakeCluster, kubernetes: KubernetesCompute, bash_job: MakeJob, wait: Any
) -> None:
    handle = kubernetes.submit(bash_job("exit 3"))
    wait.end(kubernetes, handle)
    fake.faults.append(Fault("GET", "/jobs", 500, times=99))
    assert (kubernetes.poll(handle).state, kubernetes.poll(handle).exit_code) == (JobState.FAILED, 3)


def test_settings_that_lead_to_another_cluster_do_not_lose_the_job(
    fake: FakeCluster,
    kubernetes: KubernetesCompute,
    kubernetes_settings: KubernetesSettings,
    bash_job: MakeJob,
) -> None:
    handle = kubernetes.submit(job := bash_job("sleep 300"))
    elsewhere = with_(kubernetes_settings, namespace="other", lost_after_s=0)
    status = elsewhere.poll(handle)
    assert status.state is JobState.UNKNOWN and "was submitted to namespace lm" in status.message
    (Path(handle.facts["state"]) / "handle.json").unlink()
    with pytest.raises(BackendError, match="was submitted to namespace lm"):
        elsewhere.find(job)
    with pytest.raises(BackendError, match="was submitted to namespace lm"):
        elsewhere.cancel(handle)


def test_a_forged_record_leads_nowhere(
    fake: FakeCluster, kubernetes: KubernetesCompute, bash_job: MakeJob
) -> None:
    handle = kubernetes.submit(bash_job("sleep 300"))
    bare = handle.model_copy(update={"facts": {"state": handle.facts["state"]}})
    with pytest.raises(IntegrityError, match="names no cluster"):
        kubernetes.cancel(bare)
    aside = handle.model_copy(update={"id": "../../other/jobs/theirs"})
    kubernetes.cancel(aside)
    assert all("/other/" not in path for _, path, _ in fake.requests)
    assert not [one for one in fake.requests if one[0] == "DELETE"]


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ({"minor": "31+"}, "1.31"),
        ({"minor": "99"}, "1.37"),
        ({"minor": "9"}, "1.25"),
        ({"minor": None}, "1.37"),
    ],
)
def test_a_version_is_the_nearest_whose_schemas_are_there(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, said: dict[str, Any], version: str
) -> None:
    fake.gitversion.update(said)
    assert open_cluster(kubernetes_settings).version() == version
