"""Slurm's states and traps with a controller that replies as told; a real one is in test_slurm.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from opswright.compute import Job, JobState, Resources
from opswright.compute.folder import JobFolder
from opswright.compute.slurm import ControllerReply, SlurmCompute
from opswright.compute.slurm_states import status_of
from opswright.core.contract import JobHandle
from opswright.core.errors import AskError, BackendError, NeedsError
from opswright.core.settings import load_settings
from opswright.core.settings.compute import SlurmSettings

MakeJob = Callable[..., Job]
GONE = ControllerReply(1, "", "slurm_load_jobs error: Invalid job id specified")
DOWN = ControllerReply(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")


class Controller:
    """Answers each command by its name, and remembers what it was asked."""

    def __init__(self, **replies: ControllerReply) -> None:
        self.replies = {
            "sbatch": ControllerReply(0, "12", ""),
            "scancel": ControllerReply(0, "", ""),
            **replies,
        }
        self.asked: list[Sequence[str]] = []
        self.now = 0.0

    def __call__(self, command: Sequence[str], timeout_s: float) -> ControllerReply:
        self.asked.append(command)
        return self.replies[command[0]]

    def named(self, name: str) -> list[Sequence[str]]:
        return [command for command in self.asked if command[0] == name]

    def compute(self, **settings: object) -> SlurmCompute:
        return SlurmCompute(
            SlurmSettings.model_validate({"lost_after_s": 60, **settings}),
            run=self,
            clock=lambda: self.now,
            installed=lambda name: name,
        )


def line(
    handle: JobHandle, state: str, code: str = "0:0", reason: str = "None", restarts: int = 0
) -> ControllerReply:
    text = (
        f"JobId={handle.id} JobName=opswright-test-{handle.token[:12]} UserId=root(0) JobState={state} "
        f"Reason={reason} Dependency=(null) Requeue=1 Restarts={restarts} BatchFlag=1 ExitCode={code} "
        f"RunTime=00:00:01 Comment=opswright:{handle.token} Power="
    )
    return ControllerReply(0, text, "")


def write_status(handle: JobHandle, state: str, rc: str = "", why: str = "", restarts: int = 0) -> None:
    folder = Path(handle.facts["state"])
    ended = "12.5" if rc else ""
    (folder / "status").write_text(
        f"token={handle.token}\nid={handle.id}\npid=1\nstate={state}\nrc={rc}\nwhy={why}\n"
        f"restarts={restarts}\nstarted=10.0\nended={ended}\n"
    )


@pytest.mark.parametrize(
    ("word", "code", "state", "message"),
    [
        ("PENDING", "0:0", JobState.PENDING, ""),
        ("REQUEUED", "0:0", JobState.PENDING, ""),
        ("RUNNING", "0:0", JobState.RUNNING, ""),
        ("COMPLETING", "3:0", JobState.RUNNING, ""),
        ("COMPLETED", "0:0", JobState.SUCCEEDED, "succeeded"),
        ("FAILED", "7:0", JobState.FAILED, "ended with code 7"),
        ("FAILED", "0:9", JobState.FAILED, "was killed by signal 9"),
        ("FAILED", "0:53", JobState.FAILED, "could not open its log where it ran"),
        ("CANCELLED", "0:0", JobState.CANCELLED, "was cancelled by someone else (scancel)"),
        ("CANCELLED", "3:0", JobState.CANCELLED, "was cancelled by someone else (scancel)"),
        ("PREEMPTED", "0:15", JobState.CANCELLED, "was ended for a job of higher priority"),
        ("TIMEOUT", "0:15", JobState.FAILED, "reached its time limit and was ended"),
        ("OUT_OF_MEMORY", "0:125", JobState.FAILED, "ran out of memory"),
        ("NODE_FAIL", "0:0", JobState.LOST, "was lost with its node"),
        ("BOOT_FAIL", "0:0", JobState.LOST, "was lost: its node did not boot"),
    ],
)
def test_the_state_decides_and_not_the_exit_code(word: str, code: str, state: JobState, message: str) -> None:
    found = status_of(f"JobId=1 JobName=x JobState={word} Reason=None Restarts=0 ExitCode={code}", None)
    assert (found.state, found.message) == (state, message)


def test_a_job_that_was_put_back_into_the_queue_waits_and_counts_its_restarts(bash_job: MakeJob) -> None:
    controller = Controller()
    compute = controller.compute()
    handle = compute.submit(bash_job("true"))
    write_status(handle, "exited", rc="143", why="terminated")  # of the attempt before
    controller.replies["scontrol"] = line(handle, "PENDING", reason="BeginTime", restarts=1)
    status = compute.poll(handle)
    assert (status.state, status.reason, status.restarts) == (JobState.PENDING, "BeginTime", 1)


def test_a_job_the_controller_forgot_is_known_by_what_it_wrote(bash_job: MakeJob) -> None:
    controller = Controller(scontrol=GONE)
    compute = controller.compute()
    handle = compute.submit(bash_job("true"))
    write_status(handle, "exited", rc="0")
    status = compute.poll(handle)
    assert (status.state, status.seconds) == (JobState.SUCCEEDED, 2.5)


@pytest.mark.parametrize("wrote", [None, "running"])
def test_a_job_that_vanished_without_a_word_is_unknown_and_then_lost(
    bash_job: MakeJob, wrote: str | None
) -> None:
    controller = Controller(scontrol=GONE)
    compute = controller.compute()
    handle = compute.submit(bash_job("true"))
    if wrote:
        write_status(handle, wrote)
    assert compute.poll(handle).state is JobState.UNKNOWN
    controller.now = 59
    assert compute.poll(handle).state is JobState.UNKNOWN
    controller.now = 61
    assert compute.poll(handle).state is JobState.LOST


def cancelled(handle: JobHandle, why: str = "") -> str:
    return f"slurmstepd-n1: error: *** JOB {handle.id} ON n1 CANCELLED AT 2026-11-22T00:38:34{why} ***\n"


@pytest.mark.parametrize(
    ("why", "state", "reason"),
    [
        (" DUE TO TIME LIMIT", JobState.FAILED, "TIMEOUT"),
        (" DUE TO NODE FAILURE", JobState.LOST, "NODE_FAIL"),
        (" DUE TO PREEMPTION", JobState.CANCELLED, "PREEMPTED"),
        ("", JobState.CANCELLED, "CANCELLED"),
        (" DUE TO JOB REQUEUE", JobState.UNKNOWN, "the controller no longer knows it"),
    ],
)
def test_a_job_that_was_killed_and_then_forgotten_is_known_by_what_slurm_wrote_into_its_log(
    bash_job: MakeJob, why: str, state: JobState, reason: str
) -> None:
    controller = Controller(scontrol=GONE)
    compute = controller.compute()
    job = bash_job("true")
    handle = compute.submit(job)
    write_status(handle, "running")
    job.log.write_text("at work\n" + cancelled(handle, why) + "Terminated\n")
    status = compute.poll(handle)
    assert (status.state, status.reason, status.exit_code) == (state, reason, None)


def test_the_log_lines_of_earlier_starts_and_of_other_jobs_say_nothing_of_this_one(bash_job: MakeJob) -> None:
    controller = Controller(scontrol=GONE)
    compute = controller.compute()
    job = bash_job("true")
    handle = compute.submit(job)
    write_status(handle, "running", restarts=1)
    job.log.write_text(cancelled(handle, " DUE TO TIME LIMIT"))
    assert compute.poll(handle).state is JobState.UNKNOWN
    write_status(handle, "running")
    job.log.write_text(cancelled(handle.model_copy(update={"id": "99"}), " DUE TO TIME LIMIT"))
    assert compute.poll(handle).state is JobState.UNKNOWN


def test_a_controller_that_does_not_reply_says_nothing_of_the_job(bash_job: MakeJob) -> None:
    controller = Controller(scontrol=DOWN)
    compute = controller.compute()
    handle = compute.submit(bash_job("true"))
    for controller.now in (0, 1e6):
        status = compute.poll(handle)
        assert status.state is JobState.UNKNOWN and "Unable to contact" in status.message
    controller.replies["scontrol"] = ControllerReply(None, "", "no reply in 30 s")
    assert compute.poll(handle).state is JobState.UNKNOWN
    with pytest.raises(BackendError, match=r"did not take the cancellation.*`scancel 12`"):
        compute.cancel(handle)


def test_an_id_that_was_given_out_again_is_another_job_and_is_never_cancelled(bash_job: MakeJob) -> None:
    controller = Controller()
    compute = controller.compute()
    handle = compute.submit(bash_job("true"))
    other = handle.model_copy(update={"token": "f" * 32})
    controller.replies["scontrol"] = line(other, "RUNNING")
    assert compute.poll(handle).state is JobState.UNKNOWN
    compute.cancel(handle)
    assert controller.named("scancel") == []
    controller.now = 61
    status = compute.poll(handle)
    assert status.state is JobState.LOST and "gave its id to another job" in status.message
    controller.replies["scontrol"] = line(handle, "RUNNING")
    compute.cancel(handle)
    assert controller.named("scancel") == [["scancel", "12"]]


def test_a_site_that_rewrites_comments_leaves_the_name(bash_job: MakeJob) -> None:
    controller = Controller()
    compute = controller.compute()
    handle = compute.submit(bash_job("true"))
    reply = line(handle, "RUNNING")
    controller.replies["scontrol"] = ControllerReply(
        0, reply.out.replace("Comment=opswright:", "Comment=site "), ""
    )
    assert compute.poll(handle).state is JobState.RUNNING


def test_an_unrecorded_job_is_found_in_the_queue_and_not_guessed_at(bash_job: MakeJob) -> None:
    job = bash_job("true")
    controller = Controller()
    compute = controller.compute()
    handle = compute.submit(job)
    (Path(handle.facts["state"]) / "handle.json").unlink()
    controller.replies["squeue"] = DOWN
    with pytest.raises(BackendError, match=r"may have been submitted.*it is not submitted twice"):
        compute.find(job)
    controller.replies["squeue"] = ControllerReply(0, "12", "")
    assert compute.find(job) == handle
    assert f"--name=opswright-test-{handle.token[:12]}" in controller.named("squeue")[0]


def test_what_the_controller_refuses_is_told_and_what_it_did_not_hear_can_be_repeated(
    bash_job: MakeJob,
) -> None:
    controller = Controller(sbatch=ControllerReply(1, "", "sbatch: error: invalid partition specified: gpu"))
    with pytest.raises(AskError, match=r"sbatch refused job test: invalid partition specified: gpu\. Change"):
        controller.compute().submit(bash_job("true"))
    controller.replies["sbatch"] = DOWN
    with pytest.raises(BackendError, match=r"Unable to contact.*it is found again"):
        controller.compute().submit(bash_job("true"))


def test_without_sbatch_the_plan_stops_and_the_remedy_is_named(bash_job: MakeJob) -> None:
    compute = SlurmCompute(SlurmSettings(), installed=lambda name: None)
    (finding,) = compute.check(Resources())
    assert finding.level == "stop" and "apt-get install slurm-client" in finding.fix
    with pytest.raises(NeedsError, match="sbatch is not installed here"):
        compute.submit(bash_job("true"))


def test_everything_goes_by_argument_and_none_of_it_is_in_the_script(bash_job: MakeJob) -> None:
    controller = Controller()
    settings = {"partition": "gpu", "account": "lm", "walltime_minutes": 90, "options": ("--qos=high",)}
    job = bash_job("echo '#SBATCH --time=9'", resources=Resources(cpus=4, gpus=2, memory_gb=1.5))
    controller.compute(**settings).submit(job)
    (command,) = controller.named("sbatch")
    wanted = {"--cpus-per-task=4", "--gres=gpu:2", "--mem=1536M", "--time=90", "--partition=gpu"}
    wanted |= {"--account=lm", "--qos=high", "--open-mode=append", "--parsable", f"--output={job.log}"}
    assert wanted <= set(command) and not any("#SBATCH" in part for part in command)


@pytest.mark.parametrize("option", ["--output=/tmp/x", "qos=high", "--wrap=rm", "-p gpu"])
def test_an_option_that_would_undo_ours_is_refused(bash_job: MakeJob, option: str) -> None:
    with pytest.raises(AskError, match="invalid sbatch option"):
        Controller().compute(options=(option,)).submit(bash_job("true"))


def test_a_path_that_slurm_would_rewrite_is_refused(bash_job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(AskError, match="a meaning in paths"):
        Controller().compute().submit(bash_job("true", log=tmp_path / "50%j" / "log"))


def test_an_unknown_partition_stops_the_plan_and_a_silent_controller_only_warns() -> None:
    controller = Controller(sinfo=ControllerReply(0, "", ""))
    found = controller.compute(partition="gpux").check(Resources())
    assert [f.level for f in found] == ["note", "stop"] and "partition gpux: 1 CPUs, 0 GPUs" in found[
        0
    ].message
    controller.replies["sinfo"] = DOWN
    assert [f.level for f in controller.compute().check(Resources())] == ["note", "warn"]


def test_a_shared_folder_holds_copies_of_the_inputs_and_gives_the_outputs_back(
    bash_job: MakeJob, tmp_path: Path
) -> None:
    job = bash_job("true", inputs=("data",), outputs=("out",))
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "rows").write_text("1")
    (job.folder / "data").symlink_to(tmp_path / "dataset")
    controller = Controller()
    compute = controller.compute(shared_folder=tmp_path / "shared")
    handle = compute.submit(job)
    folder = JobFolder.of(handle).path.parent
    assert folder.parent == tmp_path / "shared" and (folder / "data" / "rows").read_text() == "1"
    assert (
        not (folder / "data").is_symlink() and f"--output={folder / 'log'}" in controller.named("sbatch")[0]
    )
    (folder / "out").mkdir()
    (folder / "out" / "model").write_text("w")
    assert (compute.collect(handle) / "out" / "model").read_text() == "w"
    assert compute.find(job) == handle


def test_what_an_earlier_attempt_wrote_says_nothing_of_how_the_last_one_ended(bash_job: MakeJob) -> None:
    controller = Controller()
    compute = controller.compute()
    handle = compute.submit(bash_job("true"))
    write_status(handle, "exited", rc="143", why="terminated", restarts=0)
    controller.replies["scontrol"] = line(handle, "FAILED", code="7:0", restarts=1)
    status = compute.poll(handle)
    assert (status.exit_code, status.message, status.seconds) == (7, "ended with code 7", None)
    write_status(handle, "exited", rc="9", restarts=1)
    assert compute.poll(handle).exit_code == 9


def test_a_submission_the_queue_does_not_know_is_given_up_before_another_is_made(bash_job: MakeJob) -> None:
    job = bash_job("true")
    controller = Controller(squeue=ControllerReply(0, "", ""))
    compute = controller.compute()
    folder = JobFolder.create(job, job.folder)
    assert compute.find(job) is None and folder.is_closed
    assert JobFolder.of(compute.submit(job)).path != folder.path


def test_a_cluster_is_set_in_the_environment_as_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSWRIGHT_COMPUTE__BACKEND", "slurm")
    monkeypatch.setenv("OPSWRIGHT_COMPUTE__SLURM__PARTITION", "gpu")
    (tmp_path / "opswright.toml").write_text(
        "[compute.slurm]\nwalltime_minutes = 240\noptions = ['--qos=high']\n"
    )
    found = load_settings().compute
    assert (found.backend, found.slurm.partition, found.slurm.options) == ("slurm", "gpu", ("--qos=high",))
    assert found.slurm.walltime_minutes == 240
