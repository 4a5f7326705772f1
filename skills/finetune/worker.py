"""The training worker: `python -m opswright.skills.finetune.worker JOB.json`, a process of its own.

It works in the job's folder: makes the tiny base where one is wanted, checks the labels, runs the recipe with
NeMo AutoModel and puts the trained model into `result/`. Killed at any instant and started again, it goes on
from the last checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from ...core.errors import NeedsError, OpswrightError
from ...core.files import write_atomically
from .classes import LABELS, read_labels
from .classifier import METHOD
from .curve import drop_cut_line
from .export import export
from .layout import remove
from .recipe import CHECKPOINTS
from .status import FAILURE, FINGERPRINT, LOCK, LOCK_S, RECIPE, RESULT, STOPPED, Job, record_failure, tell

_FLUSH_S = 0.5
_MEET_S = 3600  # for other nodes to be there, and for the first to have prepared the folder
_PACKAGE = "opswright.skills.finetune"  # this module is __main__
# Imported by the trainer's libraries where they are installed, used by no recipe of ours: 3 s of each start.
_NOT_NEEDED = ("mlflow", "sklearn", "wandb")


def main(arguments: list[str] | None = None) -> int:
    """Run a job; the exit code: 0 done, 75 stopped with a checkpoint saved, 1 failed."""
    parser = argparse.ArgumentParser(prog="python -m opswright.skills.finetune.worker")
    parser.add_argument("job", type=Path)
    parser.add_argument("--rank", action="store_true", help="one process of several that torchrun started")
    request = parser.parse_args(arguments)
    folder = request.job.resolve().parent
    os.chdir(folder)
    try:
        job = Job.read(Path(request.job.name))
        if request.rank:
            return _train(job, folder)
        if job.nodes > 1 and int(_place_to_meet(job.nodes)["PET_NODE_RANK"]) > 0:
            return _train_on_several(job, request.job.name)  # nobody meets before the first has prepared
        return _lead(job, request.job.name, folder)
    except (Exception, SystemExit) as error:
        ours = error.__cause__ if isinstance(error, SystemExit) else error  # AutoModel exits on a bad dataset
        if isinstance(ours, OpswrightError):
            print(ours, file=sys.stderr)
            record_failure(folder, ours)
        else:
            traceback.print_exc()
    return 1


def _lead(job: Job, name: str, folder: Path) -> int:
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / LOCK, timeout=LOCK_S):  # the system frees it when the holder dies
            go_on(job, folder)
            ends = _prepare(job, folder)
            is_one = job.gpus * job.nodes == 1
            code = _train(job, folder, ends) if is_one else _train_on_several(job, name)
            if code == 0:
                tell(folder, message="training is done, saving the model")
                export(job, folder, ends)
            return code
    except Timeout as error:
        raise NeedsError(
            f"another worker is training in {folder}. Wait for it or stop it, then repeat."
        ) from error


def go_on(job: Job, folder: Path) -> None:
    """Keep what an earlier attempt at this very training left and remove what another did; say where it is.

    Also a job that its scheduler starts again passes here.
    """
    wanted, mark = (folder / FINGERPRINT).read_text(), folder / f".{FINGERPRINT}"
    if not mark.is_file() or mark.read_text() != wanted:
        for name in (CHECKPOINTS, RESULT, *(("base",) if job.tiny else ())):
            remove(folder / name)
        write_atomically(mark, wanted.encode())
    (folder / FAILURE).unlink(missing_ok=True)
    at = {}
    for name in ("training", "validation"):
        log = folder / CHECKPOINTS / f"{name}.jsonl"
        drop_cut_line(log)
        at[f"{name}_at"] = log.stat().st_size if log.is_file() else 0
    tell(folder, **at)


def _prepare(job: Job, folder: Path) -> tuple[int, ...]:
    """Make what is missing and check the labels; ids of the tokens that end an answer."""
    from .labels import check_labels
    from .precheck import open_tokenizer
    from .teacher import TEACHER, check_same_tokens
    from .tiny import make_tiny_base

    if job.tiny is not None and not (folder / "base").is_dir():
        tell(folder, message="making the tiny base and its tokenizer")
        shutil.rmtree(folder / "base.new", ignore_errors=True)
        labels = len(read_labels(folder / LABELS)) if job.method == METHOD else None
        train = folder / "data" / "train.jsonl"
        make_tiny_base(train, folder / "base.new", job.positions, job.tiny, labels)
        (folder / "base.new").rename(folder / "base")
    tokenizer = open_tokenizer(Path("base"))
    if job.method == METHOD:
        return ()
    if job.has_teacher:
        check_same_tokens(tokenizer.get_vocab(), open_tokenizer(Path(TEACHER)).get_vocab())
    found = check_labels(Path("data") / "train.jsonl", tokenizer, last_turn_only=job.last_turn_only)
    for line in found.in_words("train.jsonl"):
        tell(folder, message=line)
    return found.ends


def _train(job: Job, folder: Path, ends: tuple[int, ...] = ()) -> int:
    """Run the recipe in this process; ends: tokens that end an answer."""
    import torch

    from . import cpu_shim

    if job.device == "cuda" and not torch.cuda.is_available():
        raise NeedsError(
            "device 'cuda' was asked for and torch sees none. Install CUDA and its torch, or set "
            "OPSWRIGHT_TRAIN__DEVICE=cpu."
        )
    cpu_shim.install()
    from nemo_automodel.components.config.loader import load_yaml_config

    from .selecting import SuiteJudge
    from .watched import watched_recipe

    logging.getLogger(_PACKAGE).addHandler(_Tell(folder))
    judge = SuiteJudge(folder, folder / CHECKPOINTS, job, ends) if job.kept_by_suite else None
    recipe = watched_recipe(load_yaml_config(RECIPE), job.patience, judge)
    recipe.setup()
    recipe.metric_logger_train = _live(recipe.metric_logger_train)
    validations = recipe.metric_logger_valid  # one, or one for each validation set
    recipe.metric_logger_valid = (
        {name: _live(log) for name, log in validations.items()}
        if isinstance(validations, dict)
        else _live(validations)
    )
    steps = recipe.step_scheduler
    if recipe.dist_env.is_main:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        again = f"continues at step {steps.step} of" if steps.step else "starts, in all"
        tell(
            folder,
            message=f"training on {device} {again} {steps.max_steps} steps",
            step=steps.step,
            total=steps.max_steps,
        )
    if not recipe.has_stopped_early(folder / CHECKPOINTS):
        recipe.run_train_validation_loop()
    return STOPPED if steps.sigterm_flag and steps.step < steps.max_steps else 0


def _live(log: Any) -> Any:
    """A metric log that reaches the disk twice a second, in place of one that waits for a hundred records."""
    kind = type(log)

    class Live(kind):  # type: ignore[misc, valid-type]
        flushed = 0.0

        def log(self, record: Any) -> None:
            super().log(record)
            if time.monotonic() - self.flushed > _FLUSH_S:
                self.flush()
                self.flushed = time.monotonic()

    log.close()
    return Live(log.filepath)


def _train_on_several(job: Job, name: str) -> int:
    """Run the recipe in a process for each GPU of each node, by torchrun."""
    meeting = ["--standalone"]
    if job.nodes > 1:
        rank, address, port = _place_to_meet(job.nodes).values()
        meeting = [f"--nnodes={job.nodes}", f"--node-rank={rank}", f"--master-addr={address}"]
        meeting += [f"--master-port={port}", f"--rdzv-conf=timeout={_MEET_S}"]
    command = [sys.executable, "-m", "torch.distributed.run", *meeting, f"--nproc-per-node={job.gpus}"]
    command += ["-m", "opswright.skills.finetune.worker", name, "--rank"]
    return subprocess.run(command, check=False).returncode


def _place_to_meet(nodes: int) -> dict[str, str]:
    """Where the nodes meet, as Kubeflow Trainer tells each pod; NeedsError where it told nothing."""
    names = ("PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT")
    found = {name: os.environ.get(name, "") for name in names}
    if missing := [name for name, value in found.items() if not value]:
        raise NeedsError(
            f"{nodes} nodes are to train together, and nobody said where they meet: {', '.join(missing)} is "
            "not set. Set OPSWRIGHT_COMPUTE__KUBERNETES__RUNTIME to a runtime of Kubeflow Trainer with the "
            "mlPolicy torch."
        )
    if os.environ.get("PET_NNODES") not in (None, "", str(nodes)):
        raise NeedsError(
            f"{nodes} nodes are to train together, and Kubeflow Trainer started {os.environ['PET_NNODES']}."
        )
    return found


class _Tell(logging.Handler):
    """Tells a person what this package's code logs while it trains; of several processes, the first."""

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.WARNING)
        self.folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        if os.environ.get("RANK", "0") == "0":
            tell(self.folder, message=record.getMessage())


if __name__ == "__main__":
    for unused in _NOT_NEEDED:
        sys.modules.setdefault(unused, None)  # type: ignore[arg-type]  # importing it then fails
    code = main()
    sys.stdout.flush()
    sys.exit(code)
