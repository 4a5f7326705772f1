"""The skill `finetune`: teach a language model from chat rows with NeMo AutoModel, on CPU or GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...core.artifacts import Artifact, CheckpointRef, PendingArtifact
from ...core.contract import Cost, Effect, Finding, StepContext, skill
from ...core.errors import AskError, NeedsError, did_you_mean
from ...core.files import sha256_json, sha256_path
from ...core.machine import Machine
from ...core.workspace import Workspace
from . import launch
from .cpu_shim import CPU_INSTALL, check_version
from .curve import Curve, drop_cut_line
from .recipe import CHECKPOINTS, BaseFacts, DataFacts, Recipe, compile_recipe, total_steps
from .request import FinetuneRequest, FinetuneResult
from .status import JOB, LOCK, LOCK_S, RECIPE, RESULT, STATUS, Job

__all__ = ["FinetuneRequest", "FinetuneResult", "finetune"]

_GPU_INSTALL = 'pip install -c constraints.txt -e ".[nemo]"'
# Tiny base, batch 64, measured on a 2-core CPU: start-up, then rows a second by worker threads.
_STARTUP_S = 20.0
_ROWS_PER_S = {1: 430.0, 2: 700.0}
_OPTIMIZER_COPIES = 6  # weights, gradients and two moments in float32, and two checkpoints of them on disk
_TINY_BYTES = 60_000_000


def _preflight(ask: FinetuneRequest, machine: Machine, workspace: Workspace) -> Sequence[Finding]:
    found = [_installed(machine), *_hardware(ask, machine, workspace)]
    try:
        compile_recipe(ask, _data_facts(workspace.artifacts.open(ask.data)), _base_facts(ask, workspace))
    except PendingArtifact as pending:
        found.append(Finding(level="ok", says=f"recipe checked when it runs: {pending}."))
    return found


def _hardware(ask: FinetuneRequest, machine: Machine, workspace: Workspace) -> list[Finding]:
    found = []
    train = workspace.settings.train
    if train.threads > machine.cpu_cores:
        found.append(
            Finding(
                level="warn",
                says=f"{train.threads} training threads share {machine.cpu_cores} cores and will wait for "
                "each other.",
                fix=f"Set OPSWRIGHT_TRAIN__THREADS={machine.cpu_cores}.",
            )
        )
    if (train.device == "cuda" or ask.gpus > 1) and len(machine.gpus) < ask.gpus:
        found.append(
            Finding(
                level="stop",
                says=f"training asks for {ask.gpus} GPUs; this machine has {len(machine.gpus)}.",
                fix="Set OPSWRIGHT_TRAIN__DEVICE=auto and gpus=1, or run on a GPU machine.",
            )
        )
    try:
        needed = _disk_bytes(ask, workspace)
    except PendingArtifact:
        needed = 0
    if needed / 1e9 > machine.disk_free_gb:
        found.append(
            Finding(
                level="stop",
                says=f"checkpoints need about {needed / 1e9:.1f} GB; {machine.disk_free_gb:.1f} GB are free.",
                fix=f"Free space on the disk of {workspace.root}.",
            )
        )
    return found


def _installed(machine: Machine) -> Finding:
    missing = [m for m in ("torch", "transformers", "nemo_automodel") if importlib.util.find_spec(m) is None]
    if missing:
        return Finding(
            level="stop",
            says=f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed.",
            fix=f"Install: {_GPU_INSTALL if machine.gpus else CPU_INSTALL}",
        )
    if not machine.gpus:
        check_version()
    return Finding(level="ok", says="torch, transformers and nemo-automodel are installed.")


def _estimate(ask: FinetuneRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Minutes by rows and a measured rate for the tiny model on CPU; unknown for other bases."""
    facts = _data_facts(workspace.artifacts.open(ask.data))
    disk = _disk_bytes(ask, workspace)
    if not _is_tiny(ask, workspace) or machine.gpus:
        return Cost(disk_bytes=disk, gpu_hours=None if machine.gpus else 0, usd=0)
    rate = _ROWS_PER_S[min(2, workspace.settings.train.threads, machine.cpu_cores)]
    rows = total_steps(ask, facts) * ask.batch_size
    return Cost(minutes=(_STARTUP_S + rows / rate) / 60, gpu_hours=0, usd=0, disk_bytes=disk)


@skill(
    effect=Effect.WRITES,
    says="Fine-tune a language model on chat rows with a NeMo AutoModel recipe.",
    phrases=["fine-tune {base} on {data}", "train a model on {data}", "teach {base} from {data}"],
    preflight=_preflight,
    estimate=_estimate,
)
def finetune(ask: FinetuneRequest, ctx: StepContext) -> FinetuneResult:
    """Train a model and save it as a checkpoint, with the recipe that made it and its loss curve.

    Called again after a crash, with the same work folder, it goes on from the last checkpoint it wrote.

    Example: `/finetune data=dataset:3f2a base=tiny epochs=3`
    """
    data = ctx.artifacts.open(ask.data)
    recipe = compile_recipe(ask, _data_facts(data), _base_facts(ask, ctx.workspace))
    device = _device(ctx)
    _lay_out(ask, ctx, data, recipe, device)
    log = ctx.workspace.logs / f"finetune-{ctx.run_id}-{ctx.step_id}.log"
    try:
        seen = launch.follow_worker(ctx, ctx.workdir, log, device)
    except launch.Diverged:
        _remove(ctx.workdir / CHECKPOINTS)  # nothing to go on from
        raise
    curve = Curve.read(ctx.workdir / CHECKPOINTS)
    result = ctx.workdir / RESULT
    shutil.copy2(ctx.workdir / RECIPE, result / RECIPE)
    curve.write(result)
    parameters = _count_parameters(result)
    checkpoint = ctx.artifacts.save(
        CheckpointRef,
        result,
        facts={
            "base": str(ask.base),
            "method": ask.method,
            "parameters": parameters,
            "steps": len(curve.training),
            "seed": ask.seed,
            "final_loss": curve.final_loss,
            "validation_loss": curve.validation_loss,
            "dataset": str(ask.data),
            "device": seen.device,
        },
        parents=[ask.data, *([ask.base] if isinstance(ask.base, CheckpointRef) else [])],
    )
    return FinetuneResult(
        checkpoint=checkpoint,
        steps=len(curve.training),
        resumed_from=seen.resumed_from,
        final_loss=curve.final_loss,
        validation_loss=curve.validation_loss,
        parameters=parameters,
        tokens_per_second=seen.tokens_per_second,
        seconds=seen.seconds,
        device=seen.device,
    )


def _data_facts(data: Artifact) -> DataFacts:
    rows = [data.facts.get(name) for name in ("train_rows", "validation_rows")]
    if not all(isinstance(count, int) for count in rows) or "train.jsonl" not in data.files:
        raise AskError(f"{data.ref.short} holds no chat rows to train on. Make a dataset with `curate`.")
    return DataFacts(*rows)  # type: ignore[arg-type]  # checked above


def _device(ctx: StepContext) -> str:
    """`cpu` or `cuda`, from the settings and what this machine has."""
    wanted = ctx.settings.train.device
    if wanted == "auto":
        return "cuda" if Machine.here(ctx.workspace.root).gpus else "cpu"
    return wanted


def _base_folder(ask: FinetuneRequest, workspace: Workspace) -> Path | None:
    """Where the base lies; None for the tiny one, which is made from the data."""
    if isinstance(ask.base, CheckpointRef):
        return workspace.artifacts.open(ask.base).path
    if isinstance(ask.base, Path):
        if not ask.base.is_dir():
            raise AskError(
                f"no base at {ask.base}: it is 'tiny', a checkpoint or a local Hugging Face folder."
                + did_you_mean(str(ask.base), ["tiny"])
            )
        return ask.base
    return None


def _base_facts(ask: FinetuneRequest, workspace: Workspace) -> BaseFacts:
    folder = _base_folder(ask, workspace)
    return BaseFacts.of_folder(folder) if folder else BaseFacts()


def _is_tiny(ask: FinetuneRequest, workspace: Workspace) -> bool:
    """Whether the base is the tiny one, or was trained from it."""
    if isinstance(ask.base, CheckpointRef):
        return int(workspace.artifacts.open(ask.base).facts["parameters"]) < 2_000_000
    return ask.base == "tiny"


def _disk_bytes(ask: FinetuneRequest, workspace: Workspace) -> int:
    folder = _base_folder(ask, workspace)
    if folder is None:
        return _TINY_BYTES
    return _OPTIMIZER_COPIES * sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _lay_out(ask: FinetuneRequest, ctx: StepContext, data: Artifact, recipe: Recipe, device: str) -> None:
    """Lay out the work folder: recipe, job, and links to the data and the base.

    What an earlier attempt at the same training left is kept, anything else removed.
    """
    from filelock import FileLock, Timeout

    folder = ctx.workdir
    base = _base_folder(ask, ctx.workspace)
    what = {"recipe": recipe.digest, "data": str(ask.data), "base": sha256_path(base) if base else "tiny"}
    fingerprint = sha256_json(what)
    mark = folder / "fingerprint"
    job = Job(tiny=base is None, method=ask.method, positions=ask.max_tokens, device=device, gpus=ask.gpus)
    try:
        with FileLock(folder / LOCK, timeout=LOCK_S):
            if not mark.is_file() or mark.read_text() != fingerprint:
                for name in (CHECKPOINTS, "base", RESULT):
                    _remove(folder / name)
                mark.write_text(fingerprint)
            (folder / STATUS).unlink(missing_ok=True)
            drop_cut_line(folder / CHECKPOINTS / "training.jsonl")
            _link(folder / "data", data.path)
            if base:
                _link(folder / "base", base.resolve())
            (folder / RECIPE).write_text(recipe.yaml(), encoding="utf-8")
            job.write(folder / JOB)
    except Timeout as error:
        raise NeedsError(f"another worker still trains in {folder}. Stop it, then repeat.") from error


def _link(link: Path, target: Path) -> None:
    _remove(link)
    os.symlink(target, link, target_is_directory=True)


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _count_parameters(folder: Path) -> int:
    """Weights in a folder's safetensors files, read from their headers."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, entry in header.items():
            if name != "__metadata__":
                count = 1
                for size in entry["shape"]:
                    count *= size
                total += count
    return total
