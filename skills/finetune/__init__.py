"""The skill `finetune`: teach a language model from chat rows with NeMo AutoModel, on CPU or GPU."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...compute import JobResult, open_compute
from ...compute.run import run_folder
from ...core.artifact_refs import AdapterRef, CheckpointRef, ClassifierRef
from ...core.contract import Effect, StepContext, skill
from ...core.files import canonical_json, sha256_path
from ...engines.hf_folder import count_parameters
from . import launch
from .checks import check_teacher, chooser_of, device_on, estimate, preflight, what_to_check
from .classes import LABELS
from .classifier import METHOD
from .curve import VALIDATION, Curve
from .export import ADAPTER
from .hub import HubModel
from .layout import (
    base_digest,
    base_facts,
    data_facts,
    lay_out,
    remove,
    teacher_folder,
    with_models_here,
)
from .precheck import run_check
from .recipe import CHECKPOINTS, Recipe, compile_recipe
from .request import FinetuneRequest, FinetuneResult
from .selecting import read_scores
from .status import RECIPE, RESULT, SUITE
from .teacher import TEACHER
from .tuning import SMALL

if TYPE_CHECKING:
    from ...evals.suites.base import Suite

__all__ = ["FinetuneRequest", "FinetuneResult", "finetune", "train"]


def _lacks(request: FinetuneRequest) -> dict[str, str]:
    """The artifacts that a method does not make, each with why."""
    made = f"method '{request.method}' makes "
    if request.method == METHOD:
        why = f"{made}a classifier, which can be evaluated and not built, served or trained on"
        return {"checkpoint": f"{why}; take `classifier`, or another method", "adapter": why}
    lacking = {"classifier": f"{made}a model that generates; take `checkpoint`, or method '{METHOD}'"}
    if not request.trains_adapters:
        lacking["adapter"] = f"{made}no adapters; take `checkpoint`, or method 'lora'"
    return lacking


@skill(
    effect=Effect.WRITES,
    summary="Fine-tune a language model on chat rows with a NeMo AutoModel recipe.",
    phrases=[
        "fine-tune {base} on {data}",
        "finetune {base} on {data}",
        "fine-tune on {data}",
        "finetuning of {base} on {data}",
        "tune {base} on {data}",
        "train {base} on {data}",
        "train a model on {data}",
        "train a new model on {data}",
        "train on {data}",
        "train {base} with {data}",
        "teach {base} from {data}",
        "teach {base} with {data}",
        "adapt {base} to {data}",
        "continue training {base} on {data}",
        "distil {teacher} into {base} on {data}",
        "distill {teacher} into {base} on {data}",
        "training of {base} on {data}",
        "train {base}",
        "lora {base} on {data}",
        "lora finetune {base} on {data}",
        "lora on {base}",
        "qlora on {base}",
        "sft on {base}",
        "train further {base} on {data}",
        "retune {base} on {data}",
        "fit {base} to {data}",
        "distil {teacher} into {base}",
        "train a classifier on {data}",
        "classifier from {data}",
        "classifier on {data}",
        "train classifier on {data}",
        "train a classifier from {data}",
        "train a classifier with {data}",
        "keep training {base} on {data}",
        "continue with {base} on {data}",
        "train {base} further on {data}",
        "train {base} from {data}",
        "train a model from {data}",
        "train a model with {data}",
        "fine-tune {base} with {data}",
        "finetune {base} with {data}",
        "fine-tune {base} using {data}",
        "specialise {base} on {data}",
        "specialize {base} on {data}",
        "customise {base} on {data}",
        "adapt {base} with {data}",
        "teach {base} {data}",
        "distillation of {teacher} into {base} on {data}",
        "training run of {base} on {data}",
        "training run on {data}",
        "make a model from {data}",
        "build a classifier from {data}",
        "build a classifier on {data}",
        "lora of {base} on {data}",
        "lora with {base} on {data}",
        "qlora {base} on {data}",
        "sft {base} on {data}",
        "resume {base} with {data}",
        "resume {base} on {data}",
        "resume training {base} on {data}",
        "resume training of {base} on {data}",
        "train a tiny model on {data}",
        "train a tiny model from {data}",
        "train from scratch on {data}",
        "run a training on {data}",
        "run a training of {base} on {data}",
        "start a training of {base} on {data}",
        "start training {base} on {data}",
        "fine-tuning of {base} on {data}",
        "fine-tuning of {base} with {data}",
        "training of {base} with {data}",
        "training with {data}",
        "training on {data}",
        "make {base} learn {data}",
        "make {base} learn from {data}",
        "let {base} learn from {data}",
        "let {base} learn {data}",
        "have {base} learn from {data}",
        "let {base} study {data}",
        "learn from {data}",
        "finetune {base} with lora on {data}",
        "tune {base} with {data}",
        "tune {base} using {data}",
        "train {base} using {data}",
        "train a model using {data}",
        "train the model on {data}",
        "use {data} to train {base}",
        "use {data} to fine-tune {base}",
        "use {data} to train a model",
        "take {base} and train it on {data}",
        "distil {base} from {teacher} on {data}",
        "distill {base} from {teacher} on {data}",
        "distil {base} on {data} from {teacher}",
        "distil from {teacher} into {base} on {data}",
        "teach {base} what {teacher} knows on {data}",
        "teach {base} on {data}",
        "train adapters for {base} on {data}",
        "train adapters on {base} with {data}",
        "train a lora on {base} with {data}",
        "train a lora of {base} on {data}",
        "lora training of {base} on {data}",
        "lora training on {data}",
        "qlora of {base} on {data}",
        "full fine-tuning of {base} on {data}",
        "full fine-tune of {base} on {data}",
        "build a model from {data}",
        "train a label classifier on {data}",
        "make a classifier from {data}",
        "make a classifier on {data}",
    ],
    preflight=preflight,
    estimate=estimate,
    lacks=_lacks,
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
    backend = open_compute(request.compute, ctx.settings)
    request = with_models_here(request, ctx)
    chooser = chooser_of(request, ctx.workspace)
    device = device_on(request, ctx.workspace)
    base = base_facts(request, ctx.workspace)
    recipe = compile_recipe(request, data_facts(data, request), base, device)
    check_teacher(request, base, recipe.tuning, ctx.workspace)
    if ctx.job is None:  # else it was checked before it was submitted
        at_once = backend.name == "local" and base.parameters < SMALL  # the worker then checks as soon
        for line in run_check(what_to_check(request, recipe, data, ctx.workspace, rows=not at_once)):
            ctx.log(line)
        if request.base != "tiny":
            ctx.log(recipe.tuning.in_words())
    also = {SUITE: chooser, TEACHER: request.teacher, LABELS: request.method == METHOD}
    more = [name for name, is_there in also.items() if is_there]
    job = launch.worker_job(ctx, device, request.gpus, request.base == "tiny", command, more, request.nodes)
    try:
        done, seen = launch.run_worker(
            ctx, job, backend, prepare=lambda: lay_out(request, ctx, data, recipe, device)
        )
    except launch.Diverged:
        if ctx.job is not None:
            remove(run_folder(ctx.job) / CHECKPOINTS)  # nothing to go on from
        raise
    if device == "cuda":
        ctx.spend(gpu_hours=request.processes * (done.status.seconds or 0.0) / 3600)
    return _collected(request, ctx, recipe, chooser, device, done, seen)


def _collected(
    request: FinetuneRequest,
    ctx: StepContext,
    recipe: Recipe,
    chooser: Suite | None,
    device: str,
    done: JobResult,
    seen: launch.Follower,
) -> FinetuneResult:
    """What a finished worker left in its folder, as artifacts and figures."""
    checkpoints = run_folder(done.handle) / CHECKPOINTS
    curve = Curve.read(checkpoints)
    result = done.folder / RESULT
    shutil.copy2(ctx.workdir / RECIPE, result / RECIPE)
    curve.write(result)
    kept = seen.kept_step or len(curve.training)
    scores = read_scores(checkpoints) if chooser else []
    if chooser:
        from ...evals.selection import SELECTION, selection_document

        (result / SELECTION).write_bytes(canonical_json(selection_document(chooser, scores)))
    saved = _save(request, ctx, result, curve, kept, device)
    return FinetuneResult(
        checkpoint=saved.checkpoint,
        adapter=saved.adapter,
        classifier=saved.classifier,
        steps=len(curve.training),
        kept_step=kept,
        kept_score=dict(scores).get(kept),
        stopped_early=len(curve.training) < (seen.total_steps or recipe.steps),
        resumed_from=seen.resumed_from,
        final_loss=curve.final_loss,
        validation_loss=curve.validation_loss_at(kept),
        learning_rate=recipe.tuning.learning_rate,
        parameters=saved.parameters,
        tokens_per_second=seen.tokens_per_second,
        seconds=done.status.seconds or 0.0,
        device=device,
        compute=done.handle.backend,
    )


@dataclass(frozen=True)
class _Saved:
    parameters: int
    checkpoint: CheckpointRef | None = None
    adapter: AdapterRef | None = None
    classifier: ClassifierRef | None = None


def _save(
    request: FinetuneRequest, ctx: StepContext, result: Path, curve: Curve, kept: int, device: str
) -> _Saved:
    parameters = count_parameters(result)
    facts = {
        "base": str(request.base),
        "method": request.method,
        "parameters": parameters,
        "steps": len(curve.training),
        "seed": request.seed,
        "final_loss": curve.final_loss,
        "validation_loss": curve.validation_loss_at(kept),
        "dataset": str(request.data),
        "device": device,
    }
    if request.train_share != 1:
        rows = data_facts(ctx.artifacts.open(request.data), request).train_rows
        facts |= {"train_share": request.train_share, "train_rows": rows}
    if kept != len(curve.training):
        facts["kept_step"] = kept
    if isinstance(request.base, HubModel | Path):  # a checkpoint's reference is its digest
        facts["base_digest"] = base_digest(request, ctx.workspace)
    if request.teacher is not None:
        facts |= {"teacher": str(request.teacher), "teacher_share": request.teacher_share}
        if not isinstance(request.teacher, CheckpointRef):
            facts["teacher_digest"] = sha256_path(teacher_folder(request, ctx.workspace) or Path())
    made_of = (request.base, request.teacher)
    parents = [request.data, *(ref for ref in made_of if isinstance(ref, CheckpointRef))]
    if request.method == METHOD:
        from ...engines.classifier import labels_of

        facts["labels"] = len(labels_of(result))
        return _Saved(parameters, classifier=ctx.artifacts.save(ClassifierRef, result, facts, parents))
    adapter = None
    if (result / ADAPTER).is_dir():
        from ...evals.selection import SELECTION

        for name in (RECIPE, VALIDATION, SELECTION, "generation_config.json"):  # they may be used unmerged
            if (result / name).is_file():
                shutil.copy2(result / name, result / ADAPTER / name)
        adapter = ctx.artifacts.save(AdapterRef, result / ADAPTER, facts, parents)
    return _Saved(parameters, ctx.artifacts.save(CheckpointRef, result, facts, parents), adapter)
