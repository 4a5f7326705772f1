"""The skill `finetune`: teach a language model from chat rows with NeMo AutoModel, on CPU or GPU."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...core.artifacts import ArtifactRef, CheckpointRef
from ...core.contract import Effect, StepContext, skill
from ...core.machine import Machine
from . import launch
from .checks import estimate, preflight
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
def finetune(ask: FinetuneRequest, ctx: StepContext) -> FinetuneResult:
    """Train a model and save it as a checkpoint, with the recipe that made it and its loss curve.

    Called again after a crash, with the same work folder, it goes on from the last checkpoint it wrote.

    Example: `/finetune data=dataset:3f2a91 base=tiny epochs=3`
    """
    return train(ask, ctx)


def train(ask: FinetuneRequest, ctx: StepContext, command: Sequence[str] = launch.WORKER) -> FinetuneResult:
    """The skill, with the command that starts a worker in the work folder."""
    data = ctx.artifacts.open(ask.data)
    recipe = compile_recipe(ask, data_facts(data), base_facts(ask, ctx.workspace))
    device = _device(ctx)
    lay_out(ask, ctx, data, recipe, device)
    log = ctx.workspace.logs / f"finetune-{ctx.run_id}-{ctx.step_id}.log"
    try:
        seen = launch.follow_worker(ctx, ctx.workdir, log, device, command)
    except launch.Diverged:
        remove(ctx.workdir / CHECKPOINTS)  # nothing to go on from
        raise
    curve = Curve.read(ctx.workdir / CHECKPOINTS)
    result = ctx.workdir / RESULT
    shutil.copy2(ctx.workdir / RECIPE, result / RECIPE)
    curve.write(result)
    checkpoint, parameters = _save(ask, ctx, result, curve, device)
    return FinetuneResult(
        checkpoint=checkpoint,
        steps=len(curve.training),
        resumed_from=seen.resumed_from,
        final_loss=curve.final_loss,
        validation_loss=curve.validation_loss,
        parameters=parameters,
        tokens_per_second=seen.tokens_per_second,
        seconds=seen.seconds,
        device=device,
    )


def _device(ctx: StepContext) -> str:
    """`cpu` or `cuda`, from the settings and what this machine has."""
    wanted = ctx.settings.train.device
    if wanted == "auto":
        return "cuda" if Machine.here(ctx.workspace.root).gpus else "cpu"
    return wanted


def _save(
    ask: FinetuneRequest, ctx: StepContext, result: Path, curve: Curve, device: str
) -> tuple[CheckpointRef, int]:
    parameters = count_parameters(result)
    facts = {
        "base": str(ask.base),
        "method": ask.method,
        "parameters": parameters,
        "steps": len(curve.training),
        "seed": ask.seed,
        "final_loss": curve.final_loss,
        "validation_loss": curve.validation_loss,
        "dataset": str(ask.data),
        "device": device,
    }
    parents: list[ArtifactRef] = [ask.data]
    if isinstance(ask.base, CheckpointRef):
        parents.append(ask.base)
    return ctx.artifacts.save(CheckpointRef, result, facts, parents), parameters


def count_parameters(folder: Path) -> int:
    """Weights in a folder's safetensors files, read from their headers."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return total
