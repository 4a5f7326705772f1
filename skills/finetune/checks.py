"""What can be known of a fine-tuning before it runs: what stands in its way, and what it will take."""

from __future__ import annotations

from collections.abc import Sequence

from ...compute import where_it_runs
from ...core.artifacts import CheckpointRef, PendingArtifact
from ...core.contract import Cost, Finding
from ...core.install import not_installed
from ...core.machine import Machine
from ...core.workspace import Workspace
from . import launch
from .cpu_shim import check_version, installed_version
from .layout import base_facts, base_folder, data_facts
from .recipe import compile_recipe, total_steps
from .request import FinetuneRequest

_MODULES = ("torch", "transformers", "nemo_automodel")
# The tiny model on CPU, batch 64: seconds to start and to save, then rows a second by worker threads.
_STARTUP_S = 20.0
_ROWS_PER_S = {1: 430.0, 2: 600.0}
_TINY_PARAMETERS = 2_000_000
_TINY_BYTES = 60_000_000
_COPIES_ON_DISK = 9  # two checkpoints of weights and two moments, and the exported model


def preflight(request: FinetuneRequest, machine: Machine, workspace: Workspace) -> Sequence[Finding]:
    """What is missing where it runs, or wrong with the request."""
    name = compute_name(request, workspace)
    device = device_on(name, workspace, machine)
    wanted = launch.resources(workspace.settings.train.threads, device, request.gpus)
    found = [*where_it_runs(name, workspace.settings, wanted), _installed(machine, device)]
    found += _disk(request, machine, workspace)
    found += (
        _hardware(request, machine, workspace) if name == "local" else _elsewhere(request, device, workspace)
    )
    try:
        compile_recipe(
            request, data_facts(workspace.artifacts.open(request.data)), base_facts(request, workspace)
        )
    except PendingArtifact as pending:
        found.append(Finding(level="ok", message=f"the recipe is checked when it runs: {pending}."))
    return found


def estimate(request: FinetuneRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Minutes by rows and a measured rate for the tiny model on CPU; unknown for other bases and on GPU.

    On Slurm what is unknown is bounded by the time limit, where one is set.
    """
    facts = data_facts(workspace.artifacts.open(request.data))
    disk = _disk_bytes(request, workspace)
    name = compute_name(request, workspace)
    device = device_on(name, workspace, machine)
    if device == "cuda" or not _is_tiny(request, workspace):
        limit = workspace.settings.compute.slurm.walltime_minutes if name == "slurm" else None
        gpu_minutes = None if limit is None else limit * request.gpus
        gpu_hours = 0.0 if device == "cpu" else None if gpu_minutes is None else gpu_minutes / 60
        return Cost(minutes=limit, gpu_hours=gpu_hours, usd=0, disk_bytes=disk)
    cores = machine.cpu_cores if name == "local" else workspace.settings.train.threads
    rate = _ROWS_PER_S[min(2, workspace.settings.train.threads, cores)]
    rows = total_steps(request, facts) * request.batch_size
    return Cost(minutes=(_STARTUP_S + rows / rate) / 60, gpu_hours=0, usd=0, disk_bytes=disk)


def compute_name(request: FinetuneRequest, workspace: Workspace) -> str:
    """The compute backend asked for, or else the setting's."""
    return request.compute or workspace.settings.compute.backend


def device_on(compute: str, workspace: Workspace, machine: Machine | None = None) -> str:
    """`cpu` or `cuda`: the setting, and for `auto` what this machine has. Elsewhere `auto` is the CPU."""
    wanted = workspace.settings.train.device
    if wanted != "auto":
        return wanted
    here = machine or Machine.here(workspace.root)
    return "cuda" if compute == "local" and here.gpus else "cpu"


def _installed(machine: Machine, device: str) -> Finding:
    if finding := not_installed(_MODULES, "nemo" if device == "cuda" else "train"):
        return finding
    if device == "cpu":
        check_version(installed_version())
    return Finding(level="ok", message="torch, transformers and nemo-automodel are installed.")


def _hardware(request: FinetuneRequest, machine: Machine, workspace: Workspace) -> list[Finding]:
    found = []
    train = workspace.settings.train
    if train.threads > machine.cpu_cores:
        found.append(
            Finding(
                level="warn",
                message=f"{train.threads} training threads on {machine.cpu_cores} cores wait for each other.",
                fix=f"Set OPSWRIGHT_TRAIN__THREADS={machine.cpu_cores}.",
            )
        )
    if (train.device == "cuda" or request.gpus > 1) and len(machine.gpus) < request.gpus:
        found.append(
            Finding(
                level="stop",
                message=f"training asks for {request.gpus} GPU(s); this machine has {len(machine.gpus)}.",
                fix="Set OPSWRIGHT_TRAIN__DEVICE=auto and gpus=1, or run on a GPU machine.",
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
            fix="Set OPSWRIGHT_TRAIN__DEVICE=cuda to ask for GPUs.",
        )
    ]


def _disk(request: FinetuneRequest, machine: Machine, workspace: Workspace) -> list[Finding]:
    found: list[Finding] = []
    try:
        needed_gb = _disk_bytes(request, workspace) / 1e9
    except PendingArtifact:
        return found
    if needed_gb > machine.disk_free_gb:
        found.append(
            Finding(
                level="stop",
                message=f"checkpoints need about {needed_gb:.1f} GB; {machine.disk_free_gb:.1f} GB are free.",
                fix=f"Free space on the disk of {workspace.root}.",
            )
        )
    return found


def _is_tiny(request: FinetuneRequest, workspace: Workspace) -> bool:
    """Whether the base is the tiny one, or was trained from it."""
    if isinstance(request.base, CheckpointRef):
        return int(workspace.artifacts.open(request.base).facts["parameters"]) < _TINY_PARAMETERS
    return request.base == "tiny"


def _disk_bytes(request: FinetuneRequest, workspace: Workspace) -> int:
    folder = base_folder(request, workspace)
    if folder is None:
        return _TINY_BYTES
    return _COPIES_ON_DISK * sum(path.stat().st_size for path in folder.glob("*.safetensors"))
