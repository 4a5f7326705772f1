"""What a real Slurm of one node does to jobs: requeue, time limit, purge, and daemons that die."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.compute import JobFailedError, JobState, Resources, run_job
from opswright.compute.slurm import SlurmCompute
from opswright.core.contract import JobHandle, StepContext
from opswright.core.errors import AskError, BackendError
from opswright.core.settings.compute import SlurmSettings

from .cluster_jobs import WORK, Lines, MakeJob, attach, begin, starts

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


@pytest.fixture
def slurm(cluster: Any) -> SlurmCompute:
    return SlurmCompute(SlurmSettings(lost_after_s=1))


def is_running(status: Any) -> bool:
    return bool(status.state is JobState.RUNNING)


def wait_until_forgotten(handle: JobHandle, wait: Any) -> None:
    show = ["scontrol", "show", "job", handle.id]
    wait.until(lambda: subprocess.run(show, capture_output=True, check=False).returncode == 1)


def test_a_requeued_job_keeps_its_log_and_the_person_is_told(
    slurm: SlurmCompute, bash_job: MakeJob, context: Callable[..., StepContext], wait: Any
) -> None:
    job = bash_job(WORK, outputs=("out",))
    handle = begin(slurm, job, wait)
    subprocess.run(["scontrol", "requeue", handle.id], check=True)
    waiting = wait.state(slurm, handle, lambda status: status.restarts == 1)
    assert waiting.state in (JobState.PENDING, JobState.RUNNING)
    (job.folder / "go").touch()
    ctx = attach(context, handle)
    result = run_job(ctx, job, slurm)
    assert (result.status.restarts, result.status.state, starts(job)) == (1, JobState.SUCCEEDED, 2)
    assert slurm.logs(handle).splitlines().count("attempt") == 2  # nothing was cut off
    assert isinstance(ctx.events, Lines)
    assert any("put back into the queue and started again (restart 1)" in line for line in ctx.events.lines)


def test_a_job_that_reaches_its_time_limit_is_told_apart_from_one_that_failed(
    slurm: SlurmCompute, bash_job: MakeJob, context: Callable[..., StepContext], wait: Any
) -> None:
    job = bash_job("trap 'touch saved' TERM; " + WORK, resources=Resources(walltime_minutes=1))
    handle = begin(slurm, job, wait)
    with pytest.raises(JobFailedError, match="reached its time limit") as failed:
        run_job(attach(context, handle), job, slurm)
    assert failed.value.status.reason == "TIMEOUT" and "WALLTIME_MINUTES" in str(failed.value)
    assert (job.folder / "saved").exists()
    wait_until_forgotten(handle, wait)
    assert slurm.poll(handle).reason == "TIMEOUT"  # by Slurm's last words in the log


def test_a_job_whose_batch_shell_is_killed_has_failed_although_its_code_is_0(
    slurm: SlurmCompute, bash_job: MakeJob, wait: Any
) -> None:
    job = bash_job(WORK)
    handle = begin(slurm, job, wait)
    status = Path(handle.facts["state"], "status").read_text()
    os.kill(int(status.split("pid=")[1].split()[0]), signal.SIGKILL)
    ended = wait.end(slurm, handle)
    assert (ended.state, ended.exit_code) == (JobState.FAILED, 0) and "killed by signal 9" in ended.message


def test_a_job_the_controller_has_purged_is_known_by_its_status_file_and_without_it_is_lost(
    slurm: SlurmCompute, bash_job: MakeJob, wait: Any
) -> None:
    kept, bare = slurm.submit(bash_job("true", key="1")), slurm.submit(bash_job("true", key="2"))
    for handle in (kept, bare):
        wait.end(slurm, handle)
    wait_until_forgotten(bare, wait)
    assert slurm.poll(kept).state is JobState.SUCCEEDED
    assert subprocess.run(["scancel", bare.id], check=False).returncode == 0  # and says nothing
    slurm.cancel(bare)
    Path(bare.facts["state"], "status").unlink()
    assert wait.end(slurm, bare).state is JobState.LOST


def test_while_the_controller_is_down_the_job_is_unknown_and_afterwards_it_is_there(
    cluster: Any,
    slurm: SlurmCompute,
    bash_job: MakeJob,
    context: Callable[..., StepContext],
    wait: Any,
) -> None:
    job = bash_job(WORK, outputs=("out",))
    handle = begin(slurm, job, wait)
    controller = cluster.pid("slurmctld")
    os.kill(controller, signal.SIGTERM)  # it saves its state
    wait.gone(controller)
    brief = SlurmCompute(SlurmSettings(timeout_s=3, lost_after_s=1))
    try:
        assert brief.poll(handle).state is JobState.UNKNOWN
        (job.folder / "go").touch()
        wait.until(lambda: brief.poll(handle).state is JobState.SUCCEEDED)  # by its status file
        Path(handle.facts["state"], "handle.json").unlink()
        with pytest.raises(BackendError, match="may have been submitted to Slurm, and the controller cannot"):
            brief.find(job)
    finally:
        cluster.start()
    result = run_job(attach(context, handle), job, slurm)
    assert result.attached and starts(job) == 1


def test_a_node_daemon_that_is_killed_and_comes_back_changes_nothing(
    cluster: Any, slurm: SlurmCompute, bash_job: MakeJob, wait: Any
) -> None:
    job = bash_job(WORK)
    handle = begin(slurm, job, wait)
    os.kill(cluster.pid("slurmd"), signal.SIGKILL)
    cluster.start()
    (job.folder / "go").touch()
    assert wait.end(slurm, handle).state is JobState.SUCCEEDED and starts(job) == 1


def test_a_job_whose_node_stays_away_is_lost(
    cluster: Any, bash_job: MakeJob, context: Callable[..., StepContext], wait: Any
) -> None:
    slurm = SlurmCompute(SlurmSettings(options=("--no-requeue",)))
    job = bash_job(WORK)
    handle = begin(slurm, job, wait)
    os.kill(cluster.pid("slurmd"), signal.SIGKILL)
    try:
        with pytest.raises(JobFailedError, match="was lost with its node") as failed:
            run_job(attach(context, handle), job, slurm)
        assert failed.value.status.reason == "NODE_FAIL"
    finally:
        cluster.start()
        (job.folder / "go").touch()  # its processes ran on


def test_what_the_cluster_cannot_give_is_refused_at_once(slurm: SlurmCompute, bash_job: MakeJob) -> None:
    with pytest.raises(AskError, match="sbatch refused job test"):
        slurm.submit(bash_job("true", resources=Resources(cpus=64)))
    with pytest.raises(AskError, match="invalid partition specified: nowhere"):
        slurm.submit(bash_job("true", resources=Resources(partition="nowhere")))


def test_a_node_that_does_not_see_the_folder_says_so(bash_job: MakeJob, cluster: Any, wait: Any) -> None:
    slurm = SlurmCompute(SlurmSettings(options=("--hold",)))
    job = bash_job(WORK)
    handle = slurm.submit(job)
    assert slurm.poll(handle).reason == "JobHeldUser"
    shutil.rmtree(job.folder)
    subprocess.run(["scontrol", "release", handle.id], check=True)
    ended = wait.end(SlurmCompute(SlurmSettings()), handle)
    assert ended.state is JobState.FAILED and ended.exit_code == 78
    assert "does not see the job's folder" in job.log.read_text()


def test_the_callers_sbatch_variables_do_not_reach_a_job(
    slurm: SlurmCompute, bash_job: MakeJob, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    monkeypatch.setenv("SLURM_JOB_ID", "99999")
    job = bash_job("echo $SLURM_JOB_ID > id")
    handle = slurm.submit(job)
    assert wait.end(slurm, handle).state is JobState.SUCCEEDED
    assert (job.folder / "id").read_text().strip() == handle.id
