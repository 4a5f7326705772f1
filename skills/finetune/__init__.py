"""The skill `finetune`: teach a language model from chat rows with NeMo AutoModel, on CPU or GPU."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...compute import open_compute
from ...compute.run import run_folder
from ...core.artifacts import ArtifactRef, CheckpointRef
from ...core.contract import Effect, StepContext, skill
from . import launch
from .checks import device_on, estimate, preflight
from .curve import Curve
from .layout import base_facts, data_facts, lay_out, remove
from .recipe import CHECKPOINTS, compile_recipe
from .request import FinetuneRequest, FinetuneResult
from .status import RECIPE, RESULT

__all__ = ["FinetuneRequest", "FinetuneResult", "finetune", "train"]


@skill(
    effect=Effect.WRITES,
    summary="Fine-tune a language model on chat rows with a NeMo AutoModel recipe.",
    phrases=["fine-tune {base} on {data}", "train a model on {data}", "teach {base} from {data}"],
    preflight=preflight,
    estimate=estimate,
)
def finetune(request: FinetuneRequest, ctx: StepContext) -> FinetuneResult:
    """Train a model and save it as a checkpoint, with the recipe that made it and its loss curve.

    Training is a job: it outlives the process that asked for it, which attaches to it when it is run again.
    A training that was cut goes on from the last checkpoint it wrote.

    Example: `/finetune data=dataset:3f2a91 base=tiny epochs=3`
    """
    return train(request, ctx)


def train(
    request: FinetuneRequest, ctx: StepContext, command: Sequence[str] = launch.WORKER
) -> FinetuneResult:
    """The skill, with the command that starts a worker in the work folder."""
    data = ctx.artifacts.open(request.data)
    recipe = compile_recipe(request, data_facts(data), base_facts(request, ctx.workspace))
    backend = open_compute(request.compute, ctx.settings)
    device = device_on(backend.name, ctx.workspace)
    job = launch.worker_job(ctx, device, request.gpus, request.base == "tiny", command)
    try:
        done, seen = launch.run_worker(
            ctx, job, backend, prepare=lambda: lay_out(request, ctx, data, recipe, device)
        )
    except launch.Diverged:
        if ctx.job is not None:
            remove(run_folder(ctx.job) / CHECKPOINTS)  # nothing to go on from
        raise
    seconds = done.status.seconds or 0.0
    if device == "cuda":
        ctx.spend(gpu_hours=request.gpus * seconds / 3600)
    curve = Curve.read(run_folder(done.handle) / CHECKPOINTS)
    result = done.folder / RESULT
    shutil.copy2(ctx.workdir / RECIPE, result / RECIPE)
    curve.write(result)
    checkpoint, parameters = _save(request, ctx, result, curve, device)
    return FinetuneResult(
        checkpoint=checkpoint,
        steps=len(curve.training),
        resumed_from=seen.resumed_from,
        final_loss=curve.final_loss,
        validation_loss=curve.validation_loss,
        parameters=parameters,
        tokens_per_second=seen.tokens_per_second,
        seconds=seconds,
        device=device,
        compute=done.handle.backend,
    )


def _save(
    request: FinetuneRequest, ctx: StepContext, result: Path, curve: Curve, device: str
) -> tuple[CheckpointRef, int]:
    parameters = count_parameters(result)
    facts = {
        "base": str(request.base),
        "method": request.method,
        "parameters": parameters,
        "steps": len(curve.training),
        "seed": request.seed,
        "final_loss": curve.final_loss,
        "validation_loss": curve.validation_loss,
        "dataset": str(request.data),
        "device": device,
    }
    parents: list[ArtifactRef] = [request.data]
    if isinstance(request.base, CheckpointRef):
        parents.append(request.base)
    return ctx.artifacts.save(CheckpointRef, result, facts, parents), parameters


def count_parameters(folder: Path) -> int:
    """Weights in a folder's safetensors files, read from their headers."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return total
