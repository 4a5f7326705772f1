"""Starts the training worker, follows it, and sees that it never outlives the one who asked."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.contract import StepContext
from ...core.errors import BackendError
from .curve import tokens_per_second
from .recipe import CHECKPOINTS
from .status import JOB, STATUS, STOPPED, Tail, failure

_POLL_S = 0.25
_GRACE_S = 20.0  # for a stopped worker to end its step and save a checkpoint
_NOISE = ("warning", "failed to load", "skipping import", "[rank", "user warning")


@dataclass
class Followed:
    """What was seen of a worker while it ran."""

    resumed_from: int = 0
    total_steps: int = 0
    seconds: float = 0.0
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def tokens_per_second(self) -> float:
        """Median rate over the steps seen."""
        return tokens_per_second(self.records)


def environment(threads: int, device: str) -> dict[str, str]:
    """The worker's environment: threads that do not spin beside a busy neighbour, no network."""
    env = {
        **os.environ,
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


class Diverged(BackendError):
    """The loss became NaN or infinite; checkpoints since then are useless."""


WORKER = (sys.executable, "-m", "opswright.skills.finetune.worker", JOB, "--lifeline")


def follow_worker(
    ctx: StepContext, folder: Path, log: Path, device: str, command: Sequence[str] = WORKER
) -> Followed:
    """Run the worker of a folder's job to its end, telling its progress, losses and rate as they come.

    device: cpu or cuda. Raises what the worker left (AskError, NeedsError), Diverged when the loss is no
    number, BackendError with the log's last lines when it failed otherwise, HeldError or BudgetError when
    the step was stopped: the worker then saves a checkpoint and ends.
    """
    seen = Followed()
    status, training, validation = _tails(folder)
    started = time.monotonic()
    with log.open("ab") as output:
        worker = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(ctx.settings.train.threads, device),
            stdin=subprocess.PIPE,  # closes when this process dies, however it dies
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while True:
                code = worker.poll()
                _tell(ctx, seen, status.read(), training.read(), validation.read())
                if code is not None:
                    break
                ctx.check()
                time.sleep(_POLL_S)
        except Diverged:
            _signal(worker, signal.SIGKILL)
            raise
        finally:
            _stop(worker)
    seen.seconds = time.monotonic() - started
    if code:
        raise _why(folder, log, code)
    return seen


def _tails(folder: Path) -> tuple[Tail, Tail, Tail]:
    """The files to follow, each from where an earlier attempt left it."""
    checkpoints = folder / CHECKPOINTS
    return (
        Tail(folder / STATUS),
        Tail(checkpoints / "training.jsonl", from_end=True),
        Tail(checkpoints / "validation.jsonl", from_end=True),
    )


def _tell(
    ctx: StepContext,
    seen: Followed,
    news: list[dict[str, Any]],
    training: list[dict[str, Any]],
    validation: list[dict[str, Any]],
) -> None:
    for line in news:
        if message := line.get("message"):
            ctx.log(message)
        if "total" in line:
            seen.resumed_from, seen.total_steps = line["step"], line["total"]
            ctx.progress(seen.resumed_from, seen.total_steps, "steps")
    for record in training:
        if not math.isfinite(record["loss"]):
            raise Diverged(
                f"training diverged: the loss at step {record['step'] + 1} is {record['loss']}. "
                "Lower learning_rate or raise warmup_steps."
            )
        seen.records.append(record)
        ctx.metric("loss", record["loss"], record["step"])
        ctx.metric("tokens_per_second", record["tps"], record["step"])
    for record in validation:
        ctx.metric("validation_loss", record["val_loss"], record["step"])
        ctx.log(f"step {record['step'] + 1}: validation loss {record['val_loss']:.4f}")
    if training:
        ctx.progress(training[-1]["step"] + 1, seen.total_steps, "steps")


def _stop(worker: subprocess.Popen[bytes]) -> None:
    """End the worker and whatever it started: asked first, so that it saves a checkpoint, then by force."""
    if worker.poll() is None:
        _signal(worker, signal.SIGTERM)
        try:
            worker.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            _signal(worker, signal.SIGKILL)
            worker.wait()
    if worker.stdin:
        worker.stdin.close()


def _signal(worker: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(worker.pid, number)
    except ProcessLookupError:
        return


def _why(folder: Path, log: Path, code: int) -> Exception:
    if code == STOPPED:
        return BackendError("the training worker was stopped from outside; repeat to continue.", log=log)
    if left := failure(folder, log):
        return left
    ended = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return BackendError(f"the training worker {ended}: {last_lines(log)}", log=log)


def last_lines(log: Path, count: int = 3) -> str:
    """The last lines of a log that say something, joined by ' | '."""
    with log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 20_000))
        lines = file.read().decode(errors="replace").splitlines()
    telling = [x.strip() for x in lines if x.strip() and not any(noise in x.lower() for noise in _NOISE)]
    return " | ".join(telling[-count:]) or "it said nothing"
