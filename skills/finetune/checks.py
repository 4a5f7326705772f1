"""What can be known of a fine-tuning before it runs: what stands in its way, and what it will take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...compute import where_it_runs
from ...compute.gpus import GpuModel, known_gpu
from ...core.artifact_refs import PendingArtifact
from ...core.artifacts import Artifact
from ...core.contract import Cost, Finding
from ...core.errors import NeedsError
from ...core.install import missing_modules, not_installed
from ...core.machine import Machine
from ...core.workspace import Workspace
from . import launch
from .base import BaseFacts
from .classes import classes_of
from .classifier import METHOD
from .cpu_shim import check_version, installed_version
from .hub import HubModel, downloaded, look_up
from .layout import NotDownloaded, base_facts, base_folder, data_facts, teacher_facts, teacher_folder
from .needs import USABLE, disk_bytes, hours, memory_gb, training_tokens
from .nemo_base import NotImported
from .precheck import PreCheck, run_check
from .recipe import DataFacts, Recipe, compile_recipe, total_steps
from .request import FinetuneRequest
from .teacher import check_reads_alike
from .tuning import SMALL, Tuning, tune

if TYPE_CHECKING:
    from ...evals.suites import Suite

_MODULES = ("torch", "transformers", "nemo_automodel")
# The tiny model of 1.1 M parameters on CPU, batch 64: seconds to start and to save, then rows a second by
# worker threads, of rows that have so many bytes of JSON.
_STARTUP_S = 20.0
_ROWS_PER_S = {1: 430.0, 2: 600.0}
_ROW_BYTES = 135
_OPEN_S, _ITEM_S = 2.0, 0.003  # to load a checkpoint, and for each item of a suite
_TINY_PARAMETERS = 2_000_000
_TINY_BYTES = 60_000_000
_CPU_RUNTIME_GB = 1.0


def preflight(request: FinetuneRequest, machine: Machine, workspace: Workspace) -> Sequence[Finding]:
    """What is missing where it runs, or wrong with the request."""
    name = compute_name(request, workspace)
    device = device_on(request, workspace, machine)
    wanted = launch.resources(workspace.settings.train.threads, device, request.gpus, request.nodes)
    found = [*where_it_runs(name, workspace.settings, wanted), _installed(machine, device)]
    found += (
        _hardware(request, device, machine, workspace)
        if name == "local"
        else _elsewhere(request, device, workspace)
    )
    found += _method(request, device, name)
    try:
        base = base_facts(request, workspace)
    except NotDownloaded as pending:
        return [*found, *_download(request, machine, workspace, str(pending))]
    except NotImported as pending:
        return [*found, *_import(request, pending, device, name, machine, workspace)]
    except NeedsError as error:  # a hub that cannot be reached
        return [*found, Finding(level="stop", message=str(error))]
    except PendingArtifact as pending:
        return [*found, _checked_later(pending)]
    if request.keep_by is not None:
        found.append(_chooser(request, workspace))
    tuning = tune(request, base, device, has_validation=True)
    try:
        teacher = check_teacher(request, base, tuning, workspace)
    except PendingArtifact as pending:
        return [*found, _checked_later(pending)]
    found += _disk(request, base, tuning, machine, workspace)
    needed = memory_gb(request, base, tuning, teacher)
    found += _memory(request, base, tuning, needed, device, name, machine)
    if request.base != "tiny":
        found.append(Finding(level="note", message=tuning.in_words()))
    try:
        data = workspace.artifacts.open(request.data)
        facts = data_facts(data, request)
        recipe = compile_recipe(request, facts, base, device)
    except PendingArtifact as pending:
        return [*found, _checked_later(pending)]
    if request.method == METHOD:
        found += _labels(request, data)
    if not any(one.level == "stop" for one in found):
        check = what_to_check(request, recipe, data, workspace).quick()
        found += [Finding(level="note", message=line) for line in run_check(check)]
    return found


def _labels(request: FinetuneRequest, data: Artifact) -> list[Finding]:
    """What a classifier of this data will be able to say."""
    classes = classes_of(data, request.train_share, request.seed)
    message = f"the classifier answers with one of {len(classes.labels)} labels, and generates nothing."
    found = [Finding(level="note", message=message)]
    if classes.unknown:
        message = f"{classes.unknown} validation rows are left out: no training row has their label."
        found.append(Finding(level="warn", message=message))
    return found


def check_teacher(
    request: FinetuneRequest, base: BaseFacts, tuning: Tuning, workspace: Workspace
) -> BaseFacts | None:
    """The teacher's facts, None without one; AskError when it cannot teach this base."""
    teacher = teacher_facts(request, workspace)
    if teacher is not None:
        check_reads_alike(base, teacher, tuning.max_tokens)
    return teacher


def chooser_of(request: FinetuneRequest, workspace: Workspace) -> Suite | None:
    """The suite that decides which weights are kept; None without one.

    Raises AskError for one the worker cannot run, and for one that asks what the data's golden set holds out.
    """
    if request.keep_by is None:
        return None
    from ...evals.selection import check_may_choose
    from ...evals.suites import load_suite
    from ...evals.suites.portable import suite_document

    suite = load_suite(request.keep_by)
    suite_document(suite)
    check_may_choose(workspace.artifacts, request.data, suite)
    return suite


def _chooser(request: FinetuneRequest, workspace: Workspace) -> Finding:
    try:
        suite = chooser_of(request, workspace)
    except PendingArtifact as pending:
        return _checked_later(pending)
    n = 0 if suite is None else len(suite.items)
    return Finding(
        level="note", message=f"each checkpoint is asked the {n} items of suite {request.keep_by}."
    )


def _checked_later(pending: PendingArtifact) -> Finding:
    return Finding(level="ok", message=f"the recipe is checked when it runs: {pending}.")


def what_to_check(
    request: FinetuneRequest, recipe: Recipe, data: Artifact, workspace: Workspace, rows: bool = True
) -> PreCheck:
    """What is to be found out before a job is submitted; without `rows` only what the request overrides.

    The tiny base is ours and made by the worker, which checks it; overrides are checked for any base.
    """
    folder = base_folder(request, workspace)
    if folder is None or not rows:
        return PreCheck(recipe.yaml() if request.overrides else "")
    return PreCheck(
        recipe=recipe.yaml(),
        data=str(data.path),
        base=str(folder.resolve()),
        teacher=str(teacher.resolve()) if (teacher := teacher_folder(request, workspace)) else None,
        max_tokens=recipe.tuning.max_tokens,
        too_long=request.too_long,
        last_turn_only=request.learn == "last",
        classifies=request.method == METHOD,
    )


def estimate(request: FinetuneRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Minutes by rows and a measured rate for the tiny model on CPU, by arithmetic for a GPU that is known.

    Unknown elsewhere; on a cluster what is unknown is bounded by the time limit, where one is set.
    """
    facts = data_facts(workspace.artifacts.open(request.data), request)
    name = compute_name(request, workspace)
    device = device_on(request, workspace, machine)
    try:
        base = base_facts(request, workspace)
    except NotImported as pending:
        base = pending.facts
    recipe = compile_recipe(request, facts, base, device)
    disk = max(disk_bytes(request, base, recipe.tuning), _TINY_BYTES)
    if device == "cuda" and base.parameters >= SMALL and (gpu := _gpu(request, name, machine)):
        tokens = training_tokens(request, facts, recipe.tuning, recipe.steps)
        wall = _STARTUP_S / 3600 + hours(request, base, gpu, tokens, recipe.tuning)
        return Cost(minutes=wall * 60, gpu_hours=wall * request.processes, usd=0, disk_bytes=disk)
    if device == "cuda" or (base.has_weights and base.parameters >= _TINY_PARAMETERS):
        limit = workspace.settings.compute.limit_minutes(name)
        gpu_minutes = None if limit is None else limit * request.processes
        gpu_hours = 0.0 if device == "cpu" else None if gpu_minutes is None else gpu_minutes / 60
        return Cost(minutes=limit, gpu_hours=gpu_hours, usd=0, disk_bytes=disk)
    cores = machine.cpu_cores if name == "local" else workspace.settings.train.threads
    rate = _ROWS_PER_S[min(2, workspace.settings.train.threads, cores)]
    rows = total_steps(request, facts) * request.batch_size * _length(facts)
    if request.tiny is not None:
        rows *= request.tiny.work
    seconds = _STARTUP_S + rows / rate + _choosing_s(request, recipe)
    return Cost(minutes=seconds / 60, gpu_hours=0, usd=0, disk_bytes=disk)


def _choosing_s(request: FinetuneRequest, recipe: Recipe) -> float:
    """Seconds in which the tiny model's checkpoints are asked a suite; 0 without one."""
    if request.keep_by is None:
        return 0.0
    from ...evals.suites import load_suite

    asked = request.epochs + recipe.steps / request.checkpoint_every_steps
    return asked * (_OPEN_S + len(load_suite(request.keep_by).items) * _ITEM_S)


def _length(data: DataFacts) -> float:
    """The rows' length as a multiple of those that the rate was measured on."""
    return max(1.0, data.train_bytes / data.train_rows / _ROW_BYTES)


def compute_name(request: FinetuneRequest, workspace: Workspace) -> str:
    """The compute backend asked for, or else the setting's."""
    return request.compute or workspace.settings.compute.backend


def device_on(request: FinetuneRequest, workspace: Workspace, machine: Machine | None = None) -> str:
    """`cpu` or `cuda`: the setting, and for `auto` the GPUs declared, or those of this machine.

    Elsewhere, where no GPU is declared, `auto` is the CPU.
    """
    wanted = workspace.settings.train.device
    if wanted != "auto":
        return wanted
    if request.gpu is not None:
        return "cuda"
    here = machine or Machine.here(workspace.root)
    return "cuda" if compute_name(request, workspace) == "local" and here.gpus else "cpu"


def _installed(machine: Machine, device: str) -> Finding:
    if finding := not_installed(_MODULES, "nemo" if device == "cuda" else "train"):
        return finding
    if device == "cpu":
        check_version(installed_version())
    return Finding(level="ok", message="torch, transformers and nemo-automodel are installed.")


def _hardware(request: FinetuneRequest, device: str, machine: Machine, workspace: Workspace) -> list[Finding]:
    found = []
    threads = workspace.settings.train.threads
    if threads > machine.cpu_cores:
        found.append(
            Finding(
                level="warn",
                message=f"{threads} training threads on {machine.cpu_cores} cores wait for each other.",
                fix=f"Set OPSWRIGHT_TRAIN__THREADS={machine.cpu_cores}.",
            )
        )
    if (device == "cuda" or request.gpus > 1) and len(machine.gpus) < request.gpus:
        found.append(
            Finding(
                level="stop",
                message=f"training asks for {request.gpus} GPU(s); this machine has {len(machine.gpus)}.",
                fix="Leave gpu and gpus out and set OPSWRIGHT_TRAIN__DEVICE=auto, or run on a GPU machine.",
            )
        )
    return found


def _elsewhere(request: FinetuneRequest, device: str, workspace: Workspace) -> list[Finding]:
    """What to know of a training that runs on another machine."""
    if device == "cuda" or workspace.settings.train.device == "cpu":
        return []
    return [
        Finding(
            level="warn" if request.gpus > 1 else "note",
            message="it trains on CPU: what another machine has is not known here.",
            fix="Declare its GPUs, as gpu=h100x2, or set OPSWRIGHT_TRAIN__DEVICE=cuda.",
        )
    ]


def _method(request: FinetuneRequest, device: str, name: str) -> list[Finding]:
    """What the method and the precision need of the device, and what was never run."""
    found = []
    if device == "cuda":
        what = "method 'qlora'" if request.method == "qlora" else "training on GPUs"
        message = f"{what}: its recipe was compiled and checked, and not run by Opswright's own tests."
        found.append(Finding(level="warn" if request.method == "qlora" else "note", message=message))
    if request.method == "qlora" and device == "cpu":
        message = "method 'qlora' needs a GPU; it trains on CPU."
        found.append(Finding(level="stop", message=message, fix="Take method 'lora'."))
    elif request.method == "qlora" and name == "local" and missing_modules(["bitsandbytes"]):
        fix = "Install: python -m pip install bitsandbytes"
        found.append(Finding(level="stop", message="method 'qlora' needs bitsandbytes.", fix=fix))
    if request.gpu is not None and not request.gpu.model.has_bfloat16 and request.precision != "float32":
        message = f"gpu '{request.gpu}' computes in no bfloat16."
        found.append(Finding(level="stop", message=message, fix="Set precision=float32."))
    return found


def _download(request: FinetuneRequest, machine: Machine, workspace: Workspace, why: str) -> list[Finding]:
    """What is known of a base on its hub before it is here."""
    if not isinstance(request.base, HubModel) or downloaded(request.base, workspace):
        return []
    size_gb = look_up(request.base).size_bytes / 1e9
    found = [Finding(level="note", message=f"{why} ({size_gb:.2f} GB); recipe and labels are checked then.")]
    if size_gb > machine.disk_free_gb:
        message = f"{request.base} has {size_gb:.1f} GB; {machine.disk_free_gb:.1f} GB are free."
        fix = f"Free space on the disk of {workspace.root}."
        found.append(Finding(level="stop", message=message, fix=fix))
    return found


def _import(
    request: FinetuneRequest,
    pending: NotImported,
    device: str,
    name: str,
    machine: Machine,
    workspace: Workspace,
) -> list[Finding]:
    """What is known of a base in an archive before it is imported."""
    tuning = tune(request, pending.facts, device, has_validation=True)
    needed = memory_gb(request, pending.facts, tuning)
    return [
        Finding(level="note", message=f"{pending}; recipe and labels are checked then. {tuning.in_words()}"),
        *_disk(request, pending.facts, tuning, machine, workspace, also=2 * pending.facts.weight_bytes),
        *_memory(request, pending.facts, tuning, needed, device, name, machine),
    ]


def _disk(
    request: FinetuneRequest,
    base: BaseFacts,
    tuning: Tuning,
    machine: Machine,
    workspace: Workspace,
    also: int = 0,
) -> list[Finding]:
    needed = max(disk_bytes(request, base, tuning), _TINY_BYTES) + also
    if needed / 1e9 <= machine.disk_free_gb:
        return []
    message = f"checkpoints need about {needed / 1e9:.1f} GB; {machine.disk_free_gb:.1f} GB are free."
    return [Finding(level="stop", message=message, fix=f"Free space on the disk of {workspace.root}.")]


def _memory(
    request: FinetuneRequest,
    base: BaseFacts,
    tuning: Tuning,
    needed: float,
    device: str,
    name: str,
    machine: Machine,
) -> list[Finding]:
    """Whether a step that needs so many GB fits the memory it will have, where that is known."""
    if device == "cpu":
        has, where = (machine.memory_gb, "this machine") if name == "local" else (0.0, "")
        needed += _CPU_RUNTIME_GB
    elif request.gpu is not None:
        has, where = request.gpu.model.memory_gb * USABLE, f"each GPU of {request.gpu}"
    elif name == "local" and machine.gpus:
        has, where = min(gpu.memory_gb for gpu in machine.gpus) * USABLE, "each GPU here"
    else:
        return []
    if not where or (not base.has_weights and base.parameters < SMALL and device == "cpu"):
        return []
    message = f"a step needs about {needed:.1f} GB of {where}, which can give {has:.1f} GB (an estimate)."
    if needed <= has:
        return [Finding(level="ok", message=message)]
    return [Finding(level="stop", message=message, fix=f"Try {_smaller(request, tuning)}.")]


def _smaller(request: FinetuneRequest, tuning: Tuning) -> str:
    ways = []
    if tuning.micro_batch_size > 1:
        ways.append("micro_batch_size=1")
    if not request.activation_checkpointing:
        ways.append("activation_checkpointing=true")
    if request.method in ("sft", "lora"):
        ways.append("method=lora" if request.method == "sft" else "method=qlora")
    return ", ".join([*ways, "fewer max_tokens, or more GPUs"])


def _gpu(request: FinetuneRequest, name: str, machine: Machine) -> GpuModel | None:
    """The kind of GPU it runs on: declared, or found here."""
    if request.gpu is not None:
        return request.gpu.model
    if name == "local" and machine.gpus:
        return known_gpu(machine.gpus[0].name, machine.gpus[0].memory_gb)
    return None
