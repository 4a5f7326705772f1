"""What is sent to a cluster, and what pre-flight finds before that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.compute import JobState, Resources, open_compute, run_job
from opswright.compute.kubernetes import KubernetesCompute
from opswright.compute.kubernetes.client import open_cluster
from opswright.core.contract import StepContext
from opswright.core.errors import NeedsError
from opswright.core.settings import load_settings
from opswright.core.settings.compute import KubernetesSettings

from .cluster_jobs import WORK, MakeJob, begin, with_
from .fake_cluster import FakeCluster, Fault

pytestmark = pytest.mark.e2e


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


def test_a_manifest_for_a_named_namespace_needs_no_cluster(kubernetes_settings: KubernetesSettings) -> None:
    nowhere = {"kubeconfig": Path("/nowhere")}
    shown = with_(kubernetes_settings, namespace="team", **nowhere).checked_manifest(Resources(gpus=2))
    assert shown["metadata"]["namespace"] == "team"
    with pytest.raises(NeedsError, match="no access to a Kubernetes cluster"):
        with_(kubernetes_settings, namespace=None, **nowhere).checked_manifest(Resources())


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
