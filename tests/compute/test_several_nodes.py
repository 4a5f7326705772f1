"""One job on several nodes: a TrainJob whose pods know their rank, and a real training that two share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.compute import JobFailedError, JobState, Resources, run_job, where_it_runs
from opswright.compute.kubernetes import KubernetesCompute
from opswright.compute.local import LocalCompute
from opswright.compute.slurm import SlurmCompute
from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, BackendError, NeedsError
from opswright.core.settings import load_settings
from opswright.core.settings.compute import KubernetesSettings, SlurmSettings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, finetune

from .cluster_jobs import MakeJob, with_
from .fake_cluster import INDEX, FakeCluster
from .remote_training import data, shared

__all__ = ["data", "shared"]  # fixtures
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
TWO = Resources(cpus=1, nodes=2)
ASKED = {"max_steps": 6, "batch_size": 32, "epochs": 20, "checkpoint_every_steps": 3, "nodes": 2}


@pytest.fixture
def train_jobs(kubernetes_settings: KubernetesSettings) -> KubernetesCompute:
    return with_(kubernetes_settings, kind="TrainJob")


def test_the_manifest_asks_for_the_nodes_and_the_processes_of_each(train_jobs: KubernetesCompute) -> None:
    trainer = train_jobs.checked_manifest(Resources(cpus=4, gpus=8, nodes=3))["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (3, 8)
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "8"


def test_every_node_runs_the_command_and_the_first_alone_writes_the_jobs_files(
    fake: FakeCluster, train_jobs: KubernetesCompute, bash_job: MakeJob, wait: Any
) -> None:
    line = "echo of $PET_NODE_RANK; echo $PET_NNODES > out.$PET_NODE_RANK; sleep 0.$PET_NODE_RANK"
    handle = train_jobs.submit(job := bash_job(line, resources=TWO, outputs=("out.0", "out.1")))
    ended = wait.end(train_jobs, handle)
    assert (ended.state, ended.restarts) == (JobState.SUCCEEDED, 0)
    state = Path(handle.facts["state"])
    uids = {pod["metadata"]["uid"] for pod in fake.objects("pods")}
    written = {line for name in ("status", "status.1") for line in (state / name).read_text().splitlines()}
    assert {f"id={uid}" for uid in uids} <= written and "state=running" not in written
    assert job.log.read_text() == "of 0\n" and Path(f"{job.log}.1").read_text() == "of 1\n"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_that_fails_fails_the_job_and_is_named(
    fake: FakeCluster,
    train_jobs: KubernetesCompute,
    bash_job: MakeJob,
    context: Callable[..., StepContext],
    rank: int,
) -> None:
    line = f"if [ $PET_NODE_RANK = {rank} ]; then echo no more memory; exit 7; fi; echo $$ > pid; sleep 300"
    job = bash_job(line, resources=TWO)
    where = " on its node 1" if rank else ""
    with pytest.raises(JobFailedError, match=f"ended with code 7{where}: no more memory") as failed:
        run_job(context(), job, train_jobs)
    assert failed.value.status.exit_code == 7


def test_a_pod_that_waits_is_told_though_the_others_run(
    fake: FakeCluster, train_jobs: KubernetesCompute, bash_job: MakeJob, wait: Any
) -> None:
    handle = train_jobs.submit(bash_job("sleep 300", resources=TWO))
    wait.state(train_jobs, handle, lambda status: status.state is JobState.RUNNING)
    second = next(pod for pod in fake.objects("pods") if pod["metadata"]["annotations"][INDEX] == "1")
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 fit"}
    second["status"] = {"phase": "Pending", "conditions": [condition]}
    status = train_jobs.poll(handle)
    assert (status.state, status.reason) == (JobState.PENDING, "Unschedulable")


def test_where_several_nodes_cannot_be_had_it_is_said_before_and_nothing_is_submitted(
    fake: FakeCluster, kubernetes: KubernetesCompute, bash_job: MakeJob, context: Callable[..., StepContext]
) -> None:
    for backend in (LocalCompute(), SlurmCompute(SlurmSettings()), kubernetes):
        with pytest.raises(AskError, match=rf"compute '{backend.name}' runs a job on 1 node .*KIND=TrainJob"):
            run_job(context(), bash_job("true", resources=TWO), backend)
    (found,) = where_it_runs("local", load_settings(), TWO)
    assert found.level == "stop" and "nodes is 2" in found.message
    assert not fake.objects("jobs")


def test_a_batch_that_does_not_divide_over_the_nodes_is_refused(data: DatasetRef) -> None:
    with pytest.raises(ValueError, match="batch_size 33 does not divide over 1 gpus of 2 nodes"):
        FinetuneRequest.model_validate({"data": data, **ASKED, "batch_size": 33})


def train(shared: Workspace, settings: KubernetesSettings, data: DatasetRef, name: str) -> CheckpointRef:
    cluster = {**settings.model_dump(), "kind": "TrainJob", "shared_folder": shared.root.parent}
    workspace = Workspace(load_settings(home=shared.root, compute={"kubernetes": cluster}))
    workdir = workspace.run_folder(name) / "step"
    workdir.mkdir(parents=True)
    ctx = StepContext(workspace, name, "step", "key", workdir)
    request = FinetuneRequest.model_validate({"data": data, "compute": "kubernetes", **ASKED})
    result = finetune(request, ctx)
    assert (result.steps, result.resumed_from) == (6, 0) and ctx.metrics["loss"] > 0
    assert result.checkpoint is not None
    return result.checkpoint


def test_two_nodes_train_one_model_and_the_same_one_again(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, shared: Workspace, data: DatasetRef
) -> None:
    fake.volumes["work"] = shared.root.parent
    first = train(shared, kubernetes_settings, data, "once")
    assert first == train(shared, kubernetes_settings, data, "twice")
    logged = json.loads((shared.run_folder("once") / "step" / "job.json").read_text())
    assert logged["nodes"] == 2 and len(fake.objects("pods")) == 4
    ranks = list((shared.run_folder("once") / "step" / "checkpoints" / "LATEST" / "dataloader").iterdir())
    assert len(ranks) == 2, "one process trained alone"


def test_a_runtime_that_tells_no_place_to_meet_is_said(
    fake: FakeCluster, kubernetes_settings: KubernetesSettings, shared: Workspace, data: DatasetRef
) -> None:
    fake.volumes["work"], fake.has_torch_policy = shared.root.parent, False
    with pytest.raises((NeedsError, BackendError), match=r"nobody said where they meet.*RUNTIME"):
        train(shared, kubernetes_settings, data, "nowhere")
