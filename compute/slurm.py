"""The backend `slurm`: jobs in the queue of a cluster, through sbatch, scontrol, squeue and scancel.

A job is known by its id together with a token of ours in its comment and name: a controller that lost its
state gives ids out again. How a job ended is said by the controller's state, never by the exit code alone
(a batch shell killed with -9 is FAILED 0:9), and by the status file the job wrote once the controller has
forgotten it, which it does minutes after the end. Where neither speaks, Slurm's own last words in the job's
log do.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.contract import Finding, JobHandle
from ..core.errors import AskError, BackendError, NeedsError
from .folder import GRACE_S, SCRIPT, JobFolder, missing_inputs
from .job import Job, JobState, JobStatus, Resources
from .slurm_states import status_in_log, status_of
from .staging import collected, run_folder_of, stage

if TYPE_CHECKING:
    from ..core.settings.compute import SlurmSettings

_GONE = "Invalid job id specified"
_SET_HERE = "parsable job-name comment chdir output error open-mode array wrap export"
_CHECK_S = 5.0
_INSTALL = (
    "Run where the cluster's own sbatch is (a login node), or install the client "
    "(apt-get install slurm-client) and point SLURM_CONF to the cluster's slurm.conf; or set "
    "OPSWRIGHT_COMPUTE__BACKEND=local."
)


@dataclass(frozen=True)
class ControllerReply:
    """What a Slurm command gave back; `code` None when it took too long."""

    code: int | None
    out: str
    err: str


Runner = Callable[[Sequence[str], float], ControllerReply]


def run_command(command: Sequence[str], timeout_s: float) -> ControllerReply:
    """Run one Slurm command without the options that the caller's environment would add to it."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("SBATCH_", "SQUEUE_", "SCANCEL_"))}
    environment = {k: v for k, v in own.items() if k == "SLURM_CONF" or not k.startswith("SLURM_")}
    try:
        done = subprocess.run(
            command,
            env={**environment, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ControllerReply(None, "", f"no reply in {timeout_s:g} s")
    except FileNotFoundError as error:
        raise NeedsError(f"{command[0]} is not installed here. {_INSTALL}") from error
    return ControllerReply(done.returncode, done.stdout.strip(), done.stderr.strip())


class SlurmCompute:
    """Puts each job into a Slurm queue."""

    name = "slurm"
    poll_s = (0.5, 15.0)
    outputs_s = 30.0  # a network disk may show a file this much later

    def __init__(
        self,
        settings: SlurmSettings,
        run: Runner = run_command,
        clock: Callable[[], float] = time.monotonic,
        installed: Callable[[str], object] = shutil.which,
    ) -> None:
        self._settings = settings
        self._run = run
        self._clock = clock
        self._installed = installed
        self._gone_since: dict[str, float] = {}

    def check(self, resources: Resources) -> Sequence[Finding]:
        """The queue it goes to and what it asks for, and whether the controller replies."""
        if not self._installed("sbatch"):
            return [Finding(level="stop", message="sbatch is not installed here.", fix=_INSTALL)]
        found = [Finding(level="note", message=self._in_words(resources))]
        partition = resources.partition or self._settings.partition
        command = ["sinfo", "--noheader", "--format=%R", *([f"--partition={partition}"] if partition else [])]
        reply = self._run(command, min(_CHECK_S, self._settings.timeout_s))
        if reply.code != 0:
            found.append(
                Finding(
                    level="warn",
                    message=f"the Slurm controller cannot be asked: {reply.err or reply.out}.",
                    fix="Check it with `sinfo`; a job can be submitted when it replies.",
                )
            )
        elif partition and not reply.out:
            known = self._run(["sinfo", "--noheader", "--format=%R"], _CHECK_S).out.split()
            found.append(
                Finding(
                    level="stop",
                    message=f"unknown Slurm partition '{partition}' (there are: {', '.join(known)}).",
                    fix="Set OPSWRIGHT_COMPUTE__SLURM__PARTITION to one of them.",
                )
            )
        return found

    def submit(self, job: Job) -> JobHandle:
        """Queue the job."""
        if not self._installed("sbatch"):
            raise NeedsError(f"sbatch is not installed here. {_INSTALL}")
        if missing := missing_inputs(job):
            raise AskError(f"job {job.name} needs {', '.join(missing)} in {job.folder}: not found.")
        folder = self._folder(job)
        log = job.log if folder == job.folder else folder / "log"  # where the nodes can write it
        options = self._options(job.resources, folder, log)
        stage(job, folder)
        state = JobFolder.create(job.model_copy(update={"log": log}), folder)
        identity = [f"--job-name={_job_name(job, state.token)}", f"--comment=opswright:{state.token}"]
        arguments = [str(state.path), str(folder), "0", str(GRACE_S)]
        reply = self._run(["sbatch", *options, *identity, str(SCRIPT), *arguments], self._settings.timeout_s)
        last = reply.out.splitlines()[-1] if reply.out else ""
        if reply.code == 0 and (taken := re.fullmatch(r"(\d+)(?:;(\S+))?", last)):
            return state.keep(self._handle(state, taken[1], taken[2] or ""))
        raise self._refusal(job, reply)

    def find(self, job: Job) -> JobHandle | None:
        """The last attempt, by the handle or status file it left or by its name in the queue."""
        state = JobFolder.latest(job, self._folder(job))
        if state is None or state.is_closed:
            return None
        if (handle := state.handle()) is not None:
            return handle
        name = f"--name={_job_name(job, state.token)}"
        reply = self._run(
            ["squeue", "--noheader", "--states=all", name, "--format=%A"],
            self._settings.timeout_s,
        )
        if reply.code != 0:
            raise BackendError(
                f"job {job.name} may have been submitted to Slurm, and the controller cannot be asked: "
                f"{reply.err or reply.out}. Repeat when `squeue` replies: it is not submitted twice."
            )
        seen = state.status()
        if ids := reply.out.split() or ([seen.id] if seen else []):
            return state.keep(self._handle(state, ids[-1], ""))
        state.close()  # should its submission still be under way, the script does nothing
        return None

    def poll(self, handle: JobHandle) -> JobStatus:
        """By the controller, then by the status file, then by what Slurm wrote into the log."""
        state = JobFolder.of(handle)
        reply = self._run(
            ["scontrol", *_cluster(handle), "show", "job", "--oneliner", handle.id], self._settings.timeout_s
        )
        if reply.code == 0 and (line := _line_with(reply.out, handle.token)):
            self._gone_since.pop(handle.id, None)
            return status_of(line, state.status())
        seen = state.status()
        if seen is not None and seen.state == "exited":
            return seen.ended_as()
        if reply.code != 0 and _GONE not in reply.err + reply.out:
            return JobStatus(
                state=JobState.UNKNOWN,
                reason="controller does not reply",
                message=f"Slurm says: {reply.err or reply.out}",
                remedy="It is asked again until it replies; the job itself may go on.",
            )
        said = status_in_log(state.log_tail(), handle.id, seen.restarts if seen else 0)
        return said or self._gone(handle, reply)

    def logs(self, handle: JobHandle) -> str:
        """The end of its log."""
        return JobFolder.of(handle).log_tail()

    def cancel(self, handle: JobHandle) -> None:
        """`scancel`, once the id is known to be this job's: it would end another's without a word."""
        timeout_s = self._settings.timeout_s
        command = ["scontrol", *_cluster(handle), "show", "job", "--oneliner", handle.id]
        reply = self._run(command, timeout_s)
        if reply.code == 0 and not _line_with(reply.out, handle.token):
            return
        if reply.code == 0:
            reply = self._run(["scancel", *_cluster(handle), handle.id], timeout_s)
        if reply.code != 0 and _GONE not in reply.err + reply.out:
            raise BackendError(
                f"Slurm did not take the cancellation: {reply.err or reply.out}. When the controller "
                f"replies: `scancel {handle.id}`."
            )

    def collect(self, handle: JobHandle) -> Path:
        """The folder the outputs are in: the job's own, to which a shared folder's are copied back."""
        return collected(handle, self.outputs_s)

    def _gone(self, handle: JobHandle, reply: ControllerReply) -> JobStatus:
        since = self._gone_since.setdefault(handle.id, self._clock())
        what = "gave its id to another job" if reply.code == 0 else "no longer knows it"
        if self._clock() - since < self._settings.lost_after_s:
            return JobStatus(
                state=JobState.UNKNOWN, reason=f"the controller {what}", message="Its status file is awaited"
            )
        return JobStatus(
            state=JobState.LOST,
            reason="gone",
            message=f"is lost: the controller {what}, and it left no exit code",
            remedy="Its node or the controller's state was lost. Repeat the step: it goes on from what was "
            "saved.",
        )

    def _folder(self, job: Job) -> Path:
        return run_folder_of(job, self._settings.shared_folder)

    def _options(self, asked: Resources, folder: Path, log: Path) -> list[str]:
        """The options of sbatch. All go by argument: a script's #SBATCH lines need quoting of their own."""
        ours = self._settings
        for path in (folder, log):
            if "%" in str(path) or "\\" in str(path):
                raise AskError(f"Slurm gives '%' and '\\' a meaning in paths: {path}. Use another folder.")
        for option in ours.options:
            if not option.startswith("--") or option[2:].split("=")[0] in _SET_HERE.split():
                raise AskError(
                    f"invalid sbatch option '{option}' in compute.slurm.options: expected --name=value, and "
                    f"none that Opswright sets itself ({_SET_HERE})."
                )
        memory_gb = asked.memory_gb or ours.memory_gb
        minutes = asked.walltime_minutes or ours.walltime_minutes
        partition = asked.partition or ours.partition
        return [
            *("--parsable", "--nodes=1", "--ntasks=1", f"--cpus-per-task={asked.cpus}", "--export=ALL"),
            *(f"--chdir={folder}", f"--output={log}", "--open-mode=append", "--input=/dev/null"),
            *([f"--gres=gpu:{asked.gpus}"] if asked.gpus else []),
            *([f"--mem={round(memory_gb * 1024)}M"] if memory_gb else []),
            *([f"--time={max(1, round(minutes))}"] if minutes else []),
            *([f"--partition={partition}"] if partition else []),
            *([f"--account={ours.account}"] if ours.account else []),
            *ours.options,
        ]

    def _in_words(self, resources: Resources) -> str:
        partition = resources.partition or self._settings.partition
        minutes = resources.walltime_minutes or self._settings.walltime_minutes
        asked = [f"{resources.cpus} CPUs", f"{resources.gpus} GPUs"]
        asked.append(f"{minutes:g} minutes" if minutes else "the partition's time limit")
        queue = f"partition {partition}" if partition else "the default partition"
        return (
            f"it runs on Slurm (compute: slurm), {queue}: {', '.join(asked)}. Waiting in the queue is not in "
            "the estimate and counts towards the plan's minutes."
        )

    def _handle(self, state: JobFolder, job_id: str, cluster: str) -> JobHandle:
        facts = {"state": str(state.path), **({"cluster": cluster} if cluster else {})}
        return JobHandle(backend=self.name, id=job_id, token=state.token, facts=facts)

    def _refusal(self, job: Job, reply: ControllerReply) -> AskError | BackendError:
        text = (reply.err or reply.out).removeprefix("sbatch: error: ")
        if reply.code is None or "nable to contact" in text or "timed out" in text:
            return BackendError(
                f"the Slurm controller did not take job {job.name}: {text}. Repeat when `sinfo` replies; "
                "should it have been taken after all, it is found again."
            )
        return AskError(
            f"sbatch refused job {job.name}: {text}. Change the settings compute.slurm (partition, account, "
            "walltime_minutes, memory_gb, options) or what the step asks for."
        )


def _job_name(job: Job, token: str) -> str:
    return f"opswright-{job.name}-{token[:12]}"


def _cluster(handle: JobHandle) -> list[str]:
    return [f"--clusters={handle.facts['cluster']}"] if "cluster" in handle.facts else []


def _line_with(out: str, token: str) -> str:
    """The record that is this job's: the token is in its comment, or its name where a site rewrites those."""
    for line in out.splitlines():
        if f"Comment=opswright:{token}" in line or re.match(rf"JobId=\d+ .*?JobName=\S*-{token[:12]} ", line):
            return line
    return ""
