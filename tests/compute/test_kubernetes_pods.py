"""What a cluster does to pods: that wait, are taken away, reach a limit, or vanish."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.compute import JobFailedError, JobState, Resources, run_job
from opswright.compute.kubernetes import KubernetesCompute
from opswright.core.contract import StepContext
from opswright.core.errors import AskError
from opswright.core.settings.compute import KubernetesSettings

from .cluster_jobs import WORK, Lines, MakeJob, attach, begin, starts, with_
from .fake_cluster import FakeCluster, Fault

pytestmark = pytest.mark.e2e


def _once_told(ctx: StepContext, wait: Any, act: Callable[[], None]) -> None:
    """Act, in the background, once the step has told something."""

    def go() -> None:
        events: Any = ctx.events
        wait.until(lambda: events.lines[1:])
        act()

    threading.Thread(target=go).start()


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ImagePullBackOff", "not found"),
        ("InvalidImageName", "bad"),
        ("CreateContainerConfigError", "no secret"),
    ],
)
def test_a_pod_that_cannot_start_says_why_and_is_given_up_at_last(
    fake: FakeCluster,
    kubernetes_settings: KubernetesSettings,
    bash_job: MakeJob,
    context: Callable[..., StepContext],
    wait: Any,
    reason: str,
    message: str,
) -> None:
    fake.pod_waits = (reason, message)
    patient = with_(kubernetes_settings)
    handle = patient.submit(job := bash_job(WORK))
    waiting = patient.poll(handle)
    assert (waiting.state, waiting.reason) == (JobState.PENDING, reason) and waiting.remedy
    with pytest.raises(JobFailedError, match=rf"could not start \({reason}: {message}\)"):
        run_job(attach(context, handle), job, with_(kubernetes_settings, give_up_minutes=0))
    wait.until(lambda: not fake.objects("jobs"))
    assert not starts(job)


@pytest.mark.parametrize("reason", ["Unschedulable", "FailedMount"])
def test_a_pod_that_has_no_node_yet_waits_and_says_so(
    fake: FakeCluster,
    kubernetes_settings: KubernetesSettings,
    bash_job: MakeJob,
    context: Callable[..., StepContext],
    wait: Any,
    reason: str,
) -> None:
    fake.pod_waits = (reason, "0/3 nodes are available")
    backend = with_(kubernetes_settings, give_up_minutes=0)
    handle = backend.submit(job := bash_job("echo 1 > out", outputs=("out",)))
    ctx = attach(context, handle)
    _once_told(ctx, wait, fake.release)
    assert run_job(ctx, job, backend).status.state is JobState.SUCCEEDED
    assert isinstance(ctx.events, Lines)
    assert any(f"is pending ({reason}). 0/3 nodes are available" in line for line in ctx.events.lines)


def test_pods_that_the_quota_forbids_are_waited_for_in_words(
    fake: FakeCluster, kubernetes: KubernetesCompute, bash_job: MakeJob, wait: Any
) -> None:
    fake.refuses_pods = 'pods "x" is forbidden: exceeded quota: gpus'
    handle = kubernetes.submit(bash_job("true"))
    status = kubernetes.poll(handle)
    assert (status.state, status.reason) == (JobState.PENDING, "quota") and "ask for less" in status.remedy
    fake.release()
    assert wait.end(kubernetes, handle).state is JobState.SUCCEEDED


def test_a_queue_that_has_not_admitted_the_job_is_waited_for(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, bash_job: MakeJob, wait: Any
) -> None:
    fake.holds = True
    backend = with_(kubernetes_settings, queue="team-a")
    handle = backend.submit(bash_job("true"))
    assert fake.objects("jobs")[0]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert backend.poll(handle).reason == "Suspended"
    fake.release()
    assert wait.end(backend, handle).state is JobState.SUCCEEDED


def test_a_job_whose_pod_is_evicted_is_started_again_and_the_person_is_told(
    fake: FakeCluster,
    kubernetes: KubernetesCompute,
    bash_job: MakeJob,
    context: Callable[..., StepContext],
    wait: Any,
) -> None:
    job = bash_job(WORK, outputs=("out",))
    handle = begin(kubernetes, job, wait)
    fake.disrupt(handle.id, "EvictionByEvictionAPI")
    wait.until(lambda: starts(job) == 2)
    ctx = attach(context, handle)
    _once_told(ctx, wait, (job.folder / "go").touch)
    result = run_job(ctx, job, kubernetes)
    assert (result.status.restarts, result.status.state) == (1, JobState.SUCCEEDED)
    assert kubernetes.logs(handle).splitlines().count("attempt") == 2  # nothing was cut off
    assert isinstance(ctx.events, Lines)
    assert any("started again (restart 1)" in line for line in ctx.events.lines)


@pytest.mark.parametrize(
    ("reason", "kill", "state", "message"),
    [
        ("PreemptionByScheduler", False, JobState.CANCELLED, "higher priority"),
        ("DeletionByPodGC", True, JobState.LOST, "lost with its node"),
    ],
)
def test_where_it_is_not_started_again_its_end_is_told_apart_from_a_failure(
    fake: FakeCluster,
    kubernetes_settings: KubernetesSettings,
    bash_job: MakeJob,
    wait: Any,
    reason: str,
    kill: bool,
    state: JobState,
    message: str,
) -> None:
    backend = with_(kubernetes_settings, restart_evicted=False)
    handle = begin(backend, bash_job(WORK), wait)
    fake.disrupt(handle.id, reason, kill=kill)
    ended = wait.end(backend, handle)
    assert ended.state is state and message in ended.message


def test_a_job_on_a_silent_node_is_unknown_until_the_node_replies(
    fake: FakeCluster, kubernetes: KubernetesCompute, bash_job: MakeJob, wait: Any
) -> None:
    handle = begin(kubernetes, job := bash_job(WORK), wait)
    fake.silence_node(handle.id)
    assert kubernetes.poll(handle).reason == "node does not reply"
    (job.folder / "go").touch()
    assert wait.end(kubernetes, handle).state is JobState.SUCCEEDED


def test_a_job_that_reaches_its_deadline_saves_its_work_and_says_so(
    fake: FakeCluster, kubernetes: KubernetesCompute, bash_job: MakeJob, wait: Any
) -> None:
    job = bash_job("trap 'touch saved; exit 0' TERM; " + WORK, resources=Resources(walltime_minutes=10))
    handle = begin(kubernetes, job, wait)
    fake.reach_deadline(handle.id)
    ended = wait.end(kubernetes, handle)
    assert (ended.state, ended.reason) == (JobState.FAILED, "DeadlineExceeded")
    assert "WALLTIME_MINUTES" in ended.remedy
    wait.until((job.folder / "saved").exists)


def test_a_job_that_vanished_without_a_word_is_unknown_and_then_lost(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, bash_job: MakeJob, wait: Any
) -> None:
    backend = with_(kubernetes_settings, lost_after_s=0.2)
    handle = begin(backend, bash_job(WORK), wait)
    fake.forget(handle.id)
    assert backend.poll(handle).state is JobState.UNKNOWN
    ended = wait.end(backend, handle)
    assert ended.state is JobState.LOST and "the cluster no longer has it" in ended.message


def test_a_job_that_was_made_again_under_its_name_by_somebody_is_not_this_one(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, bash_job: MakeJob, wait: Any
) -> None:
    backend = with_(kubernetes_settings, lost_after_s=0)
    handle = begin(backend, bash_job(WORK), wait)
    fake.objects("jobs")[0]["metadata"]["uid"] = "restored from a backup"
    assert backend.poll(handle).state is JobState.LOST
    backend.cancel(handle)
    assert not [one for one in fake.requests if one[0] == "DELETE"]


def test_the_log_of_a_pod_that_never_saw_its_folder_comes_from_the_cluster(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, bash_job: MakeJob, wait: Any, tmp_path: Path
) -> None:
    backend = with_(kubernetes_settings, mount_path=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    fake.volumes["work"] = tmp_path / "empty"
    handle = backend.submit(bash_job("true"))
    ended = wait.end(backend, handle)
    assert (ended.state, ended.exit_code) == (JobState.FAILED, 127) and "claim" in ended.remedy
    assert "job.sh: No such file" in backend.logs(handle)
    fake.faults.append(Fault("GET", "/log", cut=True))
    assert backend.logs(handle) == ""  # a stream that is cut is no reason to fail


def test_a_workspace_that_pods_do_not_see_is_copied_to_the_volume_and_back(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, bash_job: MakeJob, wait: Any, tmp_path: Path
) -> None:
    shared = tmp_path / "volume" / "team"
    shared.mkdir(parents=True)
    fake.volumes["work"] = tmp_path / "volume"
    backend = with_(
        kubernetes_settings, shared_folder=shared, claim_folder="team", mount_path=tmp_path / "pod" / "work"
    )
    job = bash_job("cat data > out; pwd", inputs=("data",), outputs=("out",))
    (tmp_path / "original").write_text("hello")
    (job.folder / "data").symlink_to(tmp_path / "original")
    handle = backend.submit(job)
    assert wait.end(backend, handle).state is JobState.SUCCEEDED
    assert (backend.collect(handle) / "out").read_text() == "hello"
    assert backend.logs(handle).startswith(str(tmp_path / "pod" / "work"))


def test_a_link_that_leads_off_the_volume_is_refused(
    fake: FakeCluster, kubernetes: KubernetesCompute, bash_job: MakeJob
) -> None:
    job = bash_job("true", inputs=("base",))
    (job.folder / "base").symlink_to("/usr")
    with pytest.raises(AskError, match="a link to /usr, which pods do not see"):
        kubernetes.submit(job)
    assert not fake.objects("jobs")
