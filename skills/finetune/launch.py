"""The training worker as a job: what it is, and what it tells while it runs, wherever that is."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...compute import Compute, Job, JobFailedError, JobResult, Resources, run_job
from ...compute.run import run_folder
from ...core.contract import StepContext
from ...core.errors import BackendError
from .curve import tokens_per_second
from .recipe import CHECKPOINTS
from .status import FINGERPRINT, JOB, RECIPE, RESULT, STATUS, Tail, failure

WORKER = (sys.executable, "-P", "-m", "opswright.skills.finetune.worker", JOB)


class Diverged(BackendError):
    """The loss is no number any more; the checkpoints since are of no use."""


def environment(threads: int, device: str) -> dict[str, str]:
    """What the worker's environment has besides the submitter's: patient threads, no network."""
    env = {
        "OMP_NUM_THREADS": str(threads),
        "GOMP_SPINCOUNT": "1000",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }
    if device == "cpu":
        env["CUDA_VISIBLE_DEVICES"] = ""
        env["TORCHDYNAMO_DISABLE"] = "1"  # compiling for a CPU takes longer than a tiny training
    return env


def resources(threads: int, device: str, gpus: int, nodes: int = 1) -> Resources:
    """What a training asks for, on each of its nodes."""
    return Resources(cpus=threads, gpus=gpus if device == "cuda" else 0, nodes=nodes)


def worker_job(
    ctx: StepContext,
    device: str,
    gpus: int = 1,
    tiny: bool = True,
    command: Sequence[str] = WORKER,
    more: Sequence[str] = (),
    nodes: int = 1,
) -> Job:
    """The job that trains in the step's work folder, as it is laid out; more: further inputs there."""
    threads = ctx.settings.train.threads
    return Job(
        name="finetune",
        key=ctx.idempotency_key,
        command=tuple(command),
        folder=ctx.workdir,
        log=ctx.workspace.logs / f"finetune-{ctx.run_id}-{ctx.step_id}.log",
        inputs=(
            *(JOB, RECIPE, STATUS, FINGERPRINT, "data"),
            *(() if tiny else ("base",)),
            *more,
        ),
        outputs=(RESULT,),
        resources=resources(threads, device, gpus, nodes),
        environment=environment(threads, device),
    )


def run_worker(
    ctx: StepContext, job: Job, backend: Compute, prepare: Callable[[], None] = lambda: None
) -> tuple[JobResult, Follower]:
    """Train to the end, telling progress, losses and rate as they come.

    Raises what the worker left (AskError, NeedsError), Diverged when the loss is no number, JobFailedError
    when it failed otherwise, HeldError or BudgetError when the step was stopped: the worker then saves a
    checkpoint and ends.
    """
    follower = Follower(ctx)
    try:
        return run_job(ctx, job, backend, prepare=prepare, watcher=follower), follower
    except JobFailedError as error:
        if ctx.job is not None and (left := failure(run_folder(ctx.job), job.log)):
            raise left from error
        raise


class Follower:
    """Reads what a worker writes, from where its job began, and tells it."""

    def __init__(self, ctx: StepContext) -> None:
        self.resumed_from = 0
        self.total_steps = 0
        self.kept_step: int | None = None
        self.records: list[dict[str, Any]] = []
        self._ctx = ctx
        self._tails: tuple[Tail, Tail, Tail] | None = None
        self._begun = False

    @property
    def tokens_per_second(self) -> float:
        """Median rate over the steps seen."""
        return tokens_per_second(self.records)

    def look(self, folder: Path) -> None:
        """Tell what is new. Raises Diverged at a loss that is no number."""
        if self._tails is None:
            logs = folder / CHECKPOINTS
            self._tails = (
                Tail(folder / STATUS),
                Tail(logs / "training.jsonl"),
                Tail(logs / "validation.jsonl"),
            )
        news, losses, validations = self._tails
        for line in news.read():
            self._tell_news(line, losses, validations)
        if self._begun:
            self._tell_losses(losses.read())
            self._tell_validation(validations.read())

    def _tell_news(self, line: dict[str, Any], losses: Tail, validations: Tail) -> None:
        if message := line.get("message"):
            self._ctx.log(message)
        if "training_at" in line and not self._begun:  # a job that is put back into the queue says it again
            losses.start(line["training_at"])
            validations.start(line["validation_at"])
            self._begun = True
        self.kept_step = line.get("kept", self.kept_step)
        if "total" in line:
            self.resumed_from, self.total_steps = line["step"], line["total"]
            self._ctx.progress(self.resumed_from, self.total_steps, "steps")

    def _tell_losses(self, records: list[dict[str, Any]]) -> None:
        for record in records:
            if not math.isfinite(record["loss"]):
                raise Diverged(
                    f"training diverged: the loss at step {record['step'] + 1} is {record['loss']}. "
                    "Lower learning_rate or raise warmup_steps."
                )
            self.records.append(record)
            self._ctx.metric("loss", record["loss"], record["step"])
            self._ctx.metric("tokens_per_second", record["tps"], record["step"])
        if records:
            self._ctx.progress(records[-1]["step"] + 1, self.total_steps or None, "steps")

    def _tell_validation(self, records: list[dict[str, Any]]) -> None:
        for record in records:
            self._ctx.metric("validation_loss", record["val_loss"], record["step"])
            self._ctx.log(f"step {record['step'] + 1}: validation loss {record['val_loss']:.4f}")
