"""What Slurm's job states mean here."""

from __future__ import annotations

import re

from .folder import StatusFile
from .job import JobState, JobStatus

# Held back after a requeue, a job is PENDING for minutes with restarts counted; COMPLETING may last as long
# as KillWait and is not an end although an exit code may stand there.
_WAITING = {
    *("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"),
}
_AT_WORK = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
_AGAIN = "Repeat the step: it goes on from what was saved."
_ENDS: dict[str, tuple[JobState, str, str]] = {
    "COMPLETED": (JobState.SUCCEEDED, "succeeded", ""),
    "TIMEOUT": (
        JobState.FAILED,
        "reached its time limit and was ended",
        "Set a longer OPSWRIGHT_COMPUTE__SLURM__WALLTIME_MINUTES. " + _AGAIN,
    ),
    "DEADLINE": (JobState.FAILED, "was ended at the deadline it was given", _AGAIN),
    "OUT_OF_MEMORY": (
        JobState.FAILED,
        "ran out of memory",
        "Set a larger OPSWRIGHT_COMPUTE__SLURM__MEMORY_GB, or a smaller batch.",
    ),
    "NODE_FAIL": (JobState.LOST, "was lost with its node", _AGAIN),
    "BOOT_FAIL": (JobState.LOST, "was lost: its node did not boot", _AGAIN),
    "PREEMPTED": (JobState.CANCELLED, "was ended for a job of higher priority", _AGAIN),
    "REVOKED": (JobState.CANCELLED, "was withdrawn by the cluster", _AGAIN),
}
_STUCK = {
    "launch_failed_requeued_held": "Its node could not start it: see slurmd's log, then `scontrol release`.",
    "JobHeldAdmin": "An administrator holds it.",
    "JobHeldUser": "It is held: `scontrol release` lets it go.",
    "BadConstraints": "No node fits what it asks for. Change compute.slurm, then stop and resume the run.",
    "PartitionNodeLimit": "It asks for more than its partition has.",
    "PartitionTimeLimit": "It asks for more time than its partition gives.",
    "ReqNodeNotAvail": "The nodes it needs are down or reserved.",
}


# What slurmstepd writes into a job's log as it ends one, and the state that the controller gives it.
_LOGGED = {
    " DUE TO TIME LIMIT": "TIMEOUT",
    " DUE TO NODE FAILURE": "NODE_FAIL",
    " DUE TO PREEMPTION": "PREEMPTED",
    "": "CANCELLED",
}


def field(line: str, name: str) -> str:
    """A field's value in one line of `scontrol show job --oneliner`, up to the next blank."""
    found = re.search(rf"(?:^| ){name}=(\S*)", line)
    return found[1] if found else ""


def status_of(line: str, seen: StatusFile | None) -> JobStatus:
    """The status in a job's line; `seen` adds what the job itself wrote."""
    word, reason = field(line, "JobState"), field(line, "Reason").strip("()").replace("None", "")
    restarts = int(field(line, "Restarts") or 0)
    if word in _WAITING:
        return JobStatus(
            state=JobState.PENDING, reason=reason, remedy=_STUCK.get(reason, ""), restarts=restarts
        )
    if word in _AT_WORK:
        return JobStatus(state=JobState.RUNNING, reason="" if word == "RUNNING" else word, restarts=restarts)
    fresh = seen if seen is not None and seen.restarts == restarts else None
    code, signal = _exit_code(field(line, "ExitCode"))
    common = {
        "reason": word,
        "exit_code": code,
        "restarts": restarts,
        "seconds": round(fresh.ended - fresh.started, 3) if fresh and fresh.ended else None,
    }
    if word == "CANCELLED":
        return JobStatus.model_validate(
            {"state": JobState.CANCELLED, "message": "was cancelled by someone else (scancel)", **common}
        )
    if word in _ENDS:
        state, message, remedy = _ENDS[word]
        return JobStatus.model_validate({"state": state, "message": message, "remedy": remedy, **common})
    if fresh is not None and fresh.exit_code:  # FAILED: the script knows more than the code that it passed on
        said = fresh.ended_as()
        return said.model_copy(update={"reason": word, "restarts": restarts, "state": JobState.FAILED})
    if (code, signal) == (0, 53):
        message = "could not open its log where it ran"
        remedy = "Put the workspace on a disk that every node sees, or set compute.slurm.shared_folder."
    elif signal:
        message, remedy = f"was killed by signal {signal}", _AGAIN
    else:
        message, remedy = f"ended with code {code}", ""
    return JobStatus.model_validate(
        {"state": JobState.FAILED, "message": message, "remedy": remedy, **common}
    )


def status_in_log(log: str, job_id: str, restarts: int) -> JobStatus | None:
    """How Slurm says in the job's own log that it ended it; None where it says nothing of the last start.

    The one witness left when the batch script was killed before it wrote its status and the controller has
    forgotten the job. Each of the `restarts` may have left such a line of its own.
    """
    said = rf"error: \*\*\* JOB {re.escape(job_id)} ON \S+ CANCELLED AT \S+( DUE TO [A-Z ]+?)? \*\*\*"
    found = re.findall(said, log)
    if len(found) <= restarts or found[-1] not in _LOGGED:
        return None
    return status_of(f"JobState={_LOGGED[found[-1]]}", None).model_copy(update={"exit_code": None})


def _exit_code(text: str) -> tuple[int, int]:
    """`code:signal` as two numbers."""
    code, _, signal = text.partition(":")
    return int(code or 0), int(signal or 0)
