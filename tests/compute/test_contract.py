"""What every compute backend does alike: real processes on this machine, real jobs of a real Slurm."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.compute import Compute, JobFailedError, JobState, run_job
from opswright.core.contract import JobHandle, StepContext
from opswright.core.errors import AskError, BackendError, HeldError

from .cluster_jobs import MakeJob, starts

MARK = "echo $$ >> started; "  # one line for each time the work was begun


def test_a_job_runs_in_its_folder_with_its_environment_and_leaves_its_outputs(
    backend: Compute, bash_job: MakeJob, wait: Any
) -> None:
    odd = " a,b 'c' \"d\" $HOME \\n\n%j \u00fc"
    job = bash_job('printf %s "$ODD" > out; pwd; echo told', environment={"ODD": odd}, outputs=("out",))
    handle = backend.submit(job)
    status = wait.end(backend, handle)
    assert (status.state, status.exit_code, status.restarts) == (JobState.SUCCEEDED, 0, 0)
    assert status.seconds is not None and status.seconds >= 0
    assert (backend.collect(handle) / "out").read_text() == odd
    assert backend.logs(handle).splitlines() == [str(job.folder), "told"]


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("exit 7", 7, "ended with code 7"),
        ("kill -9 $$", 137, r"killed by signal 9 \(SIGKILL"),
        ("exec nowhere/to-be-found", 127, "ended with code 127"),
    ],
)
def test_a_job_that_fails_says_how(
    backend: Compute, bash_job: MakeJob, wait: Any, line: str, code: int, message: str
) -> None:
    status = wait.end(backend, backend.submit(bash_job(line)))
    assert (status.state, status.exit_code) == (JobState.FAILED, code)
    assert re.search(message, status.message), status.message


def test_outputs_that_are_missing_are_named(backend: Compute, bash_job: MakeJob, wait: Any) -> None:
    if hasattr(backend, "outputs_s"):
        backend.outputs_s = 0.5
    handle = backend.submit(bash_job("touch one", outputs=("one", "two")))
    wait.end(backend, handle)
    with pytest.raises(BackendError, match=r"left no two in"):
        backend.collect(handle)


def test_a_job_without_its_inputs_is_not_submitted(backend: Compute, bash_job: MakeJob) -> None:
    job = bash_job("true", inputs=("data",))
    with pytest.raises(AskError, match="job test needs data in"):
        backend.submit(job)
    assert backend.find(job) is None


def test_cancel_lets_a_job_save_its_work_and_ends_its_children(
    backend: Compute, bash_job: MakeJob, wait: Any
) -> None:
    line = "trap 'echo x > saved; exit 3' TERM; sleep 300 & echo $! > child; wait"
    job = bash_job(line)
    handle = backend.submit(job)
    child = int(wait.text(job.folder / "child"))
    backend.cancel(handle)
    status = wait.end(backend, handle)
    assert status.state is JobState.CANCELLED and (job.folder / "saved").exists()
    wait.gone(child)


def test_a_job_that_ignores_the_request_to_end_is_killed(
    backend: Compute, bash_job: MakeJob, wait: Any
) -> None:
    job = bash_job("trap '' TERM; echo $$ > pid; while true; do sleep 0.1; done")
    handle = backend.submit(job)
    pid = int(wait.text(job.folder / "pid"))
    backend.cancel(handle)
    assert wait.end(backend, handle).state is JobState.CANCELLED
    wait.gone(pid)


def test_cancelling_a_job_that_ended_changes_nothing(backend: Compute, bash_job: MakeJob, wait: Any) -> None:
    handle = backend.submit(bash_job("true"))
    wait.end(backend, handle)
    backend.cancel(handle)
    assert backend.poll(handle).state is JobState.SUCCEEDED


def test_a_job_that_was_submitted_and_never_recorded_is_found_by_its_key(
    backend: Compute, bash_job: MakeJob, wait: Any
) -> None:
    job = bash_job(MARK + "sleep 300")
    handle = backend.submit(job)
    (Path(handle.facts["state"]) / "handle.json").unlink()  # the submitter died before it could write it
    wait.until(lambda: starts(job))
    found = backend.find(job)
    assert found is not None and (found.id, found.token) == (handle.id, handle.token)
    assert backend.poll(found).state is JobState.RUNNING
    assert backend.find(bash_job("true", key="another")) is None
    backend.cancel(found)
    wait.end(backend, found)


def test_a_submission_that_never_arrived_is_given_up_and_cannot_start_later(
    backend: Compute, bash_job: MakeJob
) -> None:
    from opswright.compute.folder import SCRIPT, JobFolder

    job = bash_job(MARK)
    folder = JobFolder.create(job, job.folder)
    assert backend.find(job) is None
    late = ["bash", str(SCRIPT), str(folder.path), str(job.folder), "0", "1"]
    assert subprocess.run(late, check=False).returncode == 79 and not starts(job)


def test_a_step_gets_its_job_recorded_before_it_waits_and_its_outputs_after(
    backend: Compute, bash_job: MakeJob, context: Callable[..., StepContext]
) -> None:
    ctx, recorded = context(), []
    job = bash_job("while [ ! -e recorded ]; do sleep 0.05; done; echo 1 > out", outputs=("out",))

    def record(handle: JobHandle) -> None:
        recorded.append(handle)
        (job.folder / "recorded").touch()

    ctx.on_submit = record
    result = run_job(ctx, job, backend)
    assert recorded == [result.handle] and not result.attached
    assert (result.folder / "out").exists()


def test_a_step_that_is_run_again_attaches_to_its_job(
    backend: Compute, bash_job: MakeJob, wait: Any, context: Callable[..., StepContext]
) -> None:
    job = bash_job(MARK + "while [ ! -e go ]; do sleep 0.05; done")
    earlier = context()
    earlier.submitted(backend.submit(job))
    wait.until(lambda: starts(job))
    (job.folder / "go").touch()
    for ctx in (context(), context()):
        ctx.job = earlier.job
        result = run_job(ctx, job, backend, prepare=lambda: pytest.fail("the folder was laid out again"))
        assert result.attached and result.handle == earlier.job
    assert starts(job) == 1


def test_a_step_that_is_stopped_cancels_its_job_and_says_so(
    backend: Compute, bash_job: MakeJob, wait: Any, context: Callable[..., StepContext]
) -> None:
    ctx = context()
    job = bash_job(MARK + "sleep 300")

    class StopWhenStarted:
        def look(self, folder: Path) -> None:
            if starts(job):
                ctx.cancelled.set()

    with pytest.raises(HeldError, match=rf"Job \S+ on {backend.name} was cancelled"):
        run_job(ctx, job, backend, watcher=StopWhenStarted())
    wait.gone(int((job.folder / "started").read_text()))


def test_a_failure_is_told_once_with_its_log_and_then_the_job_is_submitted_again(
    backend: Compute, bash_job: MakeJob, context: Callable[..., StepContext]
) -> None:
    job = bash_job(MARK + "echo 'no more memory'; [ -e mended ]")
    with pytest.raises(JobFailedError, match=r"\(test\) ended with code 1: no more memory") as failed:
        run_job(context(), job, backend)
    assert failed.value.log == job.log and failed.value.status.exit_code == 1
    (job.folder / "mended").touch()
    assert not run_job(context(), job, backend).attached and starts(job) == 2


def test_a_failure_that_nobody_saw_is_told_to_whoever_attaches(
    backend: Compute, bash_job: MakeJob, wait: Any, context: Callable[..., StepContext]
) -> None:
    job = bash_job(MARK + "exit 5")
    wait.end(backend, handle := backend.submit(job))
    ctx = context()
    ctx.job = handle
    with pytest.raises(JobFailedError, match="ended with code 5"):
        run_job(ctx, job, backend)
    assert starts(job) == 1


def test_a_job_stopped_by_someone_else_is_told_apart(
    backend: Compute,
    bash_job: MakeJob,
    wait: Any,
    context: Callable[..., StepContext],
    request: pytest.FixtureRequest,
) -> None:
    job = bash_job(MARK + "sleep 300")
    handle = backend.submit(job)
    wait.until(lambda: starts(job))
    if backend.name == "slurm":
        subprocess.run(["scancel", handle.id], check=True)
    elif backend.name == "kubernetes":
        request.getfixturevalue("fake").delete(handle.id)
    else:
        os.kill(int(handle.id), signal.SIGTERM)
    ctx = context()
    ctx.job = handle
    with pytest.raises(JobFailedError, match=r"was (cancelled by someone else|stopped from outside)"):
        run_job(ctx, job, backend)


RUN_A_STEP = """
import sys
from pathlib import Path
from opswright.compute import Job, open_compute, run_job
from opswright.core.contract import JobHandle, StepContext
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
home, backend, job, recorded = sys.argv[1:]
workspace = Workspace(load_settings(home=Path(home)))
ctx = StepContext(workspace, "run", "step", "key", Path(home))
record = Path(recorded)
if record.exists():
    ctx.job = JobHandle.model_validate_json(record.read_text())
ctx.on_submit = lambda handle: record.write_text(handle.model_dump_json()) and None
print(run_job(ctx, Job.model_validate_json(job), open_compute(backend, workspace.settings)).attached)
"""


@pytest.mark.e2e
@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "not recorded"])
def test_killed_in_mid_job_the_step_attaches_and_nothing_is_done_twice(
    backend: Compute, bash_job: MakeJob, wait: Any, tmp_path: Path, recorded: bool
) -> None:
    job = bash_job(MARK + "while [ ! -e go ]; do sleep 0.05; done; echo done > out", outputs=("out",))
    record = tmp_path / "recorded"
    command = [sys.executable, "-c", RUN_A_STEP, str(tmp_path / "home"), backend.name, job.model_dump_json()]
    step = subprocess.Popen([*command, str(record)], start_new_session=True)
    try:
        wait.until(lambda: starts(job) and record.exists())
    finally:
        os.killpg(step.pid, signal.SIGKILL)
        step.wait()
    if not recorded:
        record.unlink()
    (job.folder / "go").touch()
    again = subprocess.run([*command, str(record)], capture_output=True, text=True, check=True)
    assert again.stdout.strip() == "True" and starts(job) == 1 and (job.folder / "out").exists()


def test_a_job_waits_and_runs_in_the_words_of_the_contract(
    backend: Compute, bash_job: MakeJob, wait: Any
) -> None:
    handle = backend.submit(job := bash_job("while [ ! -e go ]; do sleep 0.05; done"))
    assert backend.poll(handle).state in (JobState.PENDING, JobState.RUNNING)
    wait.state(backend, handle, lambda status: status.state is JobState.RUNNING)
    (job.folder / "go").touch()
    assert wait.end(backend, handle).state is JobState.SUCCEEDED
