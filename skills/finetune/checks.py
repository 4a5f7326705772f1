"""What can be known of a fine-tuning before it runs: what stands in its way, and what it will take."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.artifacts import CheckpointRef, PendingArtifact
from ...core.contract import Cost, Finding
from ...core.install import not_installed
from ...core.machine import Machine
from ...core.workspace import Workspace
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


def preflight(ask: FinetuneRequest, machine: Machine, workspace: Workspace) -> Sequence[Finding]:
    """What is missing on this machine, or wrong with the request."""
    found = [_installed(machine), *_hardware(ask, machine, workspace)]
    try:
        compile_recipe(ask, data_facts(workspace.artifacts.open(ask.data)), base_facts(ask, workspace))
    except PendingArtifact as pending:
        found.append(Finding(level="ok", message=f"the recipe is checked when it runs: {pending}."))
    return found


def estimate(ask: FinetuneRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Minutes by rows and a measured rate for the tiny model on CPU; unknown for other bases and on GPU."""
    facts = data_facts(workspace.artifacts.open(ask.data))
    disk = _disk_bytes(ask, workspace)
    if machine.gpus:
        return Cost(usd=0, disk_bytes=disk)
    if not _is_tiny(ask, workspace):
        return Cost(gpu_hours=0, usd=0, disk_bytes=disk)
    rate = _ROWS_PER_S[min(2, workspace.settings.train.threads, machine.cpu_cores)]
    rows = total_steps(ask, facts) * ask.batch_size
    return Cost(minutes=(_STARTUP_S + rows / rate) / 60, gpu_hours=0, usd=0, disk_bytes=disk)


def _installed(machine: Machine) -> Finding:
    if finding := not_installed(_MODULES, "nemo" if machine.gpus else "train"):
        return finding
    if not machine.gpus:
        check_version(installed_version())
    return Finding(level="ok", message="torch, transformers and nemo-automodel are installed.")


def _hardware(ask: FinetuneRequest, machine: Machine, workspace: Workspace) -> list[Finding]:
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
    if (train.device == "cuda" or ask.gpus > 1) and len(machine.gpus) < ask.gpus:
        found.append(
            Finding(
                level="stop",
                message=f"training asks for {ask.gpus} GPU(s); this machine has {len(machine.gpus)}.",
                fix="Set OPSWRIGHT_TRAIN__DEVICE=auto and gpus=1, or run on a GPU machine.",
            )
        )
    try:
        needed_gb = _disk_bytes(ask, workspace) / 1e9
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


def _is_tiny(ask: FinetuneRequest, workspace: Workspace) -> bool:
    """Whether the base is the tiny one, or was trained from it."""
    if isinstance(ask.base, CheckpointRef):
        return int(workspace.artifacts.open(ask.base).facts["parameters"]) < _TINY_PARAMETERS
    return ask.base == "tiny"


def _disk_bytes(ask: FinetuneRequest, workspace: Workspace) -> int:
    folder = base_folder(ask, workspace)
    if folder is None:
        return _TINY_BYTES
    return _COPIES_ON_DISK * sum(path.stat().st_size for path in folder.glob("*.safetensors"))
