"""What a cluster does to jobs: faults of its API, pods taken away, nodes lost, names taken, jobs deleted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.compute import Job, JobFailedError, JobState, Resources, open_compute, run_job
from opswright.compute.kubernetes import KubernetesCompute
from opswright.compute.kubernetes.client import JOBS, open_cluster
from opswright.core.contract import JobHandle, NullEvents, StepContext
from opswright.core.errors import AskError, BackendError, IntegrityError, NeedsError
from opswright.core.settings import KubernetesSettings, load_settings

from .fake_cluster import FakeCluster, Fault

pytestmark = pytest.mark.e2e
MakeJob = Callable[..., Job]
WORK = "echo $$ >> started; echo attempt; while [ ! -e go ]; do sleep 0.05; done; echo done > out"


class Lines(NullEvents):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, step: str, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def kubernetes(kubernetes_settings: KubernetesSettings) -> KubernetesCompute:
    return KubernetesCompute(kubernetes_settings, grace_s=4)


def with_(settings: KubernetesSettings, **changes: object) -> KubernetesCompute:
    return KubernetesCompute(settings.model_copy(update=changes), grace_s=4)


def starts(job: Job) -> int:
    path = job.folder / "started"
    return len(path.read_text().splitlines()) if path.exists() else 0


def begin(backend: KubernetesCompute, job: Job, wait: Any) -> JobHandle:
    handle = backend.submit(job)
    wait.until(lambda: starts(job))
    return handle


def attach(context: Callable[..., StepContext], handle: JobHandle) -> StepContext:
    ctx = context()
    ctx.events, ctx.job = Lines(), handle
    return ctx


# creating


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


# looking


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
    threading.Thread(target=lambda: (wait.until(lambda: ctx.events.lines[1:]), fake.release())).start()  # type: ignore[attr-defined]
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


# what happens to a job at work


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
    threading.Thread(
        target=lambda: (wait.until(lambda: ctx.events.lines[1:]), (job.folder / "go").touch())
    ).start()  # type: ignore[attr-defined]
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


# the volume


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


# what is sent


def test_secrets_are_referred_to_and_never_sent_or_written(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, bash_job: MakeJob, wait: Any
) -> None:
    fake.secrets["hub", "token"] = "s3cr3t-of-the-hub"
    backend = with_(kubernetes_settings, secrets={"HF_TOKEN": "hub/token"})
    handle = backend.submit(job := bash_job('[ "$HF_TOKEN" = s3cr3t-of-the-hub ]'))
    assert wait.end(backend, handle).state is JobState.SUCCEEDED
    assert "of-the-hub" not in repr([body for _, _, body in fake.requests])
    written = [path for path in Path(handle.facts["state"]).iterdir() if path.is_file()]
    assert all(
        b"HF_TOKEN" not in path.read_bytes() for path in written if path.name not in ("command", "job.json")
    )
    assert job.environment == {}


def test_everything_that_is_set_is_in_the_manifest_and_it_has_no_fault(
    fake: FakeCluster,
    kubernetes_settings: KubernetesSettings,
    bash_job: MakeJob,
    context: Callable[..., StepContext],
) -> None:
    backend = with_(
        kubernetes_settings,
        service_account="trainer",
        node_selector={"gpu": "h100"},
        tolerations=({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},),
        priority_class="batch",
        image_pull_secrets=("registry",),
        memory_gb=64,
        walltime_minutes=240,
        user=1000,
    )
    ctx = context()
    ctx.plan_id = "a" * 64
    run_job(ctx, bash_job("true", resources=Resources(cpus=8, gpus=2)), backend)
    sent = fake.objects("jobs")[0]
    pod = sent["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert sent["spec"]["backoffLimit"] == 0 and sent["spec"]["activeDeadlineSeconds"] == 14_400
    assert sent["metadata"]["labels"]["opswright/run"] == ctx.run_id
    assert sent["metadata"]["annotations"]["opswright/plan"] == "a" * 64  # too long for a label
    assert pod["nodeSelector"] == {"gpu": "h100"} and pod["priorityClassName"] == "batch"
    assert pod["securityContext"]["runAsNonRoot"] and pod["restartPolicy"] == "Never"
    assert container["resources"]["limits"] == {"memory": "64000M", "nvidia.com/gpu": "2"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


# before anything is sent


def test_pre_flight_says_where_it_would_run_and_keeps_nothing(
    fake: FakeCluster, kubernetes: KubernetesCompute
) -> None:
    found = kubernetes.check(Resources(cpus=2))
    assert [one.level for one in found] == ["note"] and "namespace lm of context fake" in found[0].message
    assert not fake.objects("jobs") and [one[0] for one in fake.requests] == ["GET", "POST"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None}, "none is set. Set OPSWRIGHT_COMPUTE__KUBERNETES__IMAGE"),
        ({"claim": None}, "KUBERNETES__CLAIM"),
        ({"shared_folder": Path("/nowhere")}, "is no folder of this machine"),
        ({"context": "prod"}, "unknown Kubernetes context 'prod' (there are: fake)"),
        ({"kubeconfig": Path("/nowhere")}, "no access to a Kubernetes cluster"),
        ({"secrets": {"A": "plain text"}}, "expected 'secret/key'"),
        ({"namespace": "Team A"}, "no name of a namespace"),
        ({"gpu_resource": "nvidia/com/gpu"}, "no name of a resource"),
    ],
)
def test_pre_flight_stops_what_could_not_run(
    fake: FakeCluster,
    kubernetes_settings: KubernetesSettings,
    changes: dict[str, Any],
    message: str,
) -> None:
    found = with_(kubernetes_settings, **changes).check(Resources(gpus=1))
    assert any(one.level == "stop" and message in one.message for one in found), found


@pytest.mark.parametrize(
    ("code", "level", "message"), [(403, "stop", "would not take the job"), (500, "warn", "cannot be asked")]
)
def test_pre_flight_asks_the_cluster_itself(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, code: int, level: str, message: str
) -> None:
    fake.faults.append(Fault("POST", "/jobs", code, times=99))
    found = with_(kubernetes_settings, timeout_s=0.5 if code == 500 else 60).check(Resources())
    assert (found[-1].level, message in found[-1].message) == (level, True)


def test_the_settings_name_the_backend(kubernetes_settings: KubernetesSettings, tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "ws", compute={"backend": "kubernetes"})
    assert open_compute(None, settings).name == "kubernetes"
    assert settings.compute.kubernetes.claim == "work"


@pytest.mark.parametrize(
    "text", [b"a: [b", b"", b"[]", b"\xa3\xff", b"{contexts: 3}", b"{contexts: [x], current-context: x}"]
)
def test_a_file_that_is_no_kubeconfig_is_named(
    kubernetes_settings: KubernetesSettings, tmp_path: Path, text: bytes
) -> None:
    (tmp_path / "kubeconfig").write_bytes(text)
    with pytest.raises(NeedsError, match=str(tmp_path / "kubeconfig")):
        open_cluster(kubernetes_settings.model_copy(update={"kubeconfig": tmp_path / "kubeconfig"}))


# TrainJobs of Kubeflow Trainer


@pytest.mark.parametrize(
    ("line", "state"), [("echo 1 > out", JobState.SUCCEEDED), ("exit 4", JobState.FAILED)]
)
def test_a_train_job_ends_as_a_job_does(
    fake: FakeCluster,
    kubernetes_settings: KubernetesSettings,
    bash_job: MakeJob,
    wait: Any,
    line: str,
    state: JobState,
) -> None:
    backend = with_(kubernetes_settings, kind="TrainJob", node_selector={"a": "b"}, walltime_minutes=5)
    assert [one.level for one in backend.check(Resources(gpus=1))] == ["note"]
    handle = backend.submit(bash_job(line))
    assert wait.end(backend, handle).state is state
    assert len(fake.objects("trainjobs")) == 1 and not fake.objects("jobs")


def test_a_train_job_is_cancelled_with_its_pods(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, bash_job: MakeJob, wait: Any
) -> None:
    backend = with_(kubernetes_settings, kind="TrainJob")
    handle = begin(backend, bash_job(WORK), wait)
    assert backend.poll(handle).state is JobState.RUNNING
    backend.cancel(handle)
    assert wait.end(backend, handle).state is JobState.CANCELLED
    assert not fake.objects("trainjobs") and not fake.objects("pods")


def test_what_a_train_job_does_not_take_is_refused(kubernetes_settings: KubernetesSettings) -> None:
    found = with_(kubernetes_settings, kind="TrainJob", priority_class="batch").check(Resources())
    assert [one.level for one in found] == ["stop"] and "takes no priority_class" in found[0].message


def test_a_train_job_keeps_every_key_in_the_models_of_kubeflow_trainer(
    kubernetes_settings: KubernetesSettings,
) -> None:
    models = pytest.importorskip(
        "kubeflow_trainer_api.models", reason="not run: kubeflow_trainer_api missing"
    )
    backend = with_(
        kubernetes_settings,
        kind="TrainJob",
        memory_gb=8,
        walltime_minutes=5,
        service_account="x",
        claim_folder="y",
    )
    sent = backend.manifest(Resources(gpus=2))
    assert models.TrainerV1alpha1TrainJob.from_dict(sent).to_dict() == sent


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
