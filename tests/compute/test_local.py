"""What only the backend of this machine has: a session, process ids that are given out again, and an end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.compute import Job, JobFailedError, JobState, Resources, run_job
from opswright.compute.backends import open_compute, where_it_runs
from opswright.compute.folder import JobFolder
from opswright.compute.local import LocalCompute, stop_jobs
from opswright.core.contract import JobHandle, StepContext
from opswright.core.errors import AskError
from opswright.core.settings import load_settings

MakeJob = Callable[..., Job]


def test_cancel_reaches_what_left_the_jobs_session(bash_job: MakeJob, wait: Any) -> None:
    job = bash_job("setsid bash -c 'echo $$ > escaped; sleep 300' & sleep 300")
    local = LocalCompute(grace_s=2)
    handle = local.submit(job)
    escaped = int(wait.text(job.folder / "escaped"))
    local.cancel(handle)
    assert wait.end(local, handle).state is JobState.CANCELLED
    local.cancel(handle)
    wait.gone(escaped)


def test_a_time_limit_ends_the_job_after_it_could_save_its_work(bash_job: MakeJob, wait: Any) -> None:
    line = "trap 'echo x > saved; exit 0' TERM; sleep 300 & wait"
    job = bash_job(line, resources=Resources(walltime_minutes=0.05))
    local = LocalCompute()
    status = wait.end(local, local.submit(job))
    assert (status.state, status.reason) == (JobState.FAILED, "walltime") and "time limit" in status.message
    assert (job.folder / "saved").exists()


def test_a_job_whose_own_script_was_killed_is_lost_and_what_it_left_can_be_ended(
    bash_job: MakeJob, wait: Any
) -> None:
    job = bash_job("echo $$ > pid; sleep 300")
    local = LocalCompute()
    handle = local.submit(job)
    payload = int(wait.text(job.folder / "pid"))
    os.kill(int(handle.id), signal.SIGKILL)
    status = wait.end(local, handle)
    assert status.state is JobState.LOST and "left no exit code" in status.message
    local.cancel(handle)
    wait.gone(payload)


def test_a_process_that_got_the_jobs_id_is_not_the_job_and_is_left_alone(
    bash_job: MakeJob, tmp_path: Path
) -> None:
    job = bash_job("true")
    state = JobFolder.create(job, job.folder)
    mine = JobHandle(
        backend="local", id=str(os.getpid()), token=state.token, facts={"state": str(state.path)}
    )
    local = LocalCompute()
    assert local.poll(mine).state is JobState.LOST
    local.cancel(mine)  # this very process would have ended


def test_everything_below_a_folder_can_be_stopped(bash_job: MakeJob, tmp_path: Path, wait: Any) -> None:
    job = bash_job("echo $$ > pid; sleep 300")
    local = LocalCompute(grace_s=2)
    handle = local.submit(job)
    pid = int(wait.text(job.folder / "pid"))
    assert stop_jobs(tmp_path / "elsewhere") == [] and local.poll(handle).state is JobState.RUNNING
    assert stop_jobs(tmp_path) == [f"job test (pid {handle.id})"]
    wait.gone(pid)
    assert local.poll(handle).state is JobState.CANCELLED


def test_a_file_of_another_job_is_not_this_jobs_status(bash_job: MakeJob, wait: Any) -> None:
    local = LocalCompute()
    first, second = local.submit(bash_job("true", key="1")), local.submit(bash_job("exit 3", key="2"))
    wait.end(local, first)
    wait.end(local, second)
    Path(second.facts["state"], "status").write_bytes(Path(first.facts["state"], "status").read_bytes())
    assert wait.end(local, second).state is JobState.LOST


def test_what_is_kept_of_the_environment_is_for_the_owner_alone(bash_job: MakeJob) -> None:
    job = bash_job("true", environment={"NAME": "value"})
    folder = JobFolder.create(job, job.folder).path
    assert (folder / "environment").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("inputs", ("../x",)), ("outputs", ("/x",)), ("environment", {"A B": "1"}), ("command", ("a\0b",))],
)
def test_a_job_that_cannot_be_carried_out_as_it_says_is_refused(
    tmp_path: Path, field: str, value: object
) -> None:
    values = {"name": "x", "key": "k", "command": ("true",), "folder": tmp_path, "log": tmp_path / "log"}
    with pytest.raises(ValueError, match="1 validation error"):
        Job.model_validate({**values, field: value})


class Brought:
    """What an installed package's entry point looks like."""

    name = "ours"

    def load(self) -> Callable[[object], LocalCompute]:
        return lambda settings: LocalCompute(grace_s=1)


def test_a_backend_is_looked_up_by_name_setting_or_installed_package(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, compute={"backend": "slurm"})
    assert open_compute(None, settings).name == "slurm" and open_compute("local", settings).name == "local"
    assert isinstance(open_compute("ours", settings, [Brought()]), LocalCompute)  # type: ignore[list-item]
    with pytest.raises(
        AskError, match=r"'locl' \(there are: local, slurm, kubernetes\)\. Did you mean 'local'\?"
    ):
        open_compute("locl", settings, [])
    assert [f.level for f in where_it_runs("locl", settings, Resources())] == ["stop"]


def test_a_step_whose_job_was_lost_leaves_nothing_of_it_running(
    bash_job: MakeJob, context: Callable[..., StepContext], wait: Any
) -> None:
    job = bash_job("echo $$ > pid; sleep 300")
    local = LocalCompute()
    ctx = context()
    ctx.job = local.submit(job)
    payload = int(wait.text(job.folder / "pid"))
    os.kill(int(ctx.job.id), signal.SIGKILL)
    with pytest.raises(JobFailedError, match="is gone and left no exit code"):
        run_job(ctx, job, local)
    wait.gone(payload)


def test_a_job_that_ends_between_the_two_looks_at_it_is_not_lost(bash_job: MakeJob, wait: Any) -> None:
    job = bash_job("exit 4")
    handle = LocalCompute().submit(job)
    status = Path(handle.facts["state"], "status")
    wait.end(LocalCompute(), handle)
    ended = status.read_text()
    status.write_text(ended.replace("state=exited", "state=running"))

    def ends_now(pid: int, token: str) -> bool:
        status.write_text(ended)
        return False

    assert LocalCompute(is_alive=ends_now).poll(handle).exit_code == 4


def test_a_job_that_is_still_in_exec_is_running(
    bash_job: MakeJob, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    job = bash_job("sleep 300")
    local = LocalCompute(grace_s=2)
    handle = local.submit(job)
    Path(handle.facts["state"], "status").unlink(missing_ok=True)  # as before the script's first line
    whole, looks = psutil.Process.environ, []

    def not_there_yet(process: psutil.Process) -> dict[str, str]:
        looks.append(process.pid)
        return {} if len(looks) < 4 else whole(process)

    monkeypatch.setattr(psutil.Process, "environ", not_there_yet)
    assert local.poll(handle).state is JobState.RUNNING and len(looks) == 4
    local.cancel(handle)


def test_a_job_that_begins_while_it_is_given_up_is_attached_to(
    bash_job: MakeJob, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bash_job("echo ran >> ran; sleep 1")
    local = LocalCompute()
    handle = local.submit(job)
    state = JobFolder.of(handle)
    wait.text(job.folder / "ran")
    (state.path / "handle.json").unlink()  # its submitter died before it kept this
    whole, looks = JobFolder.status, []

    def not_at_first(folder: JobFolder, rank: int = 0) -> Any:
        looks.append(rank)
        return None if len(looks) == 1 else whole(folder, rank)

    monkeypatch.setattr(JobFolder, "status", not_at_first)
    assert local.find(job) == handle and not state.is_closed
    assert wait.end(local, handle).state is JobState.SUCCEEDED
    assert (job.folder / "ran").read_text() == "ran\n"
