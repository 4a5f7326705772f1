"""What this machine can and cannot do, each line with what would change it."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..core.install import install_hint, missing_modules
from ..core.machine import Machine
from ..core.workspace import Workspace
from ..engines.registry import EngineTarget, engine_targets
from ..serving.ports import USUAL
from ..serving.server_selection import triton_home
from ..serving.triton.environment import PlatformFacts, has_own_server, is_ready

_EXTRAS = (
    (
        "fine-tune with NeMo AutoModel",
        ("torch", "transformers", "datasets", "torchdata", "nemo_automodel"),
        "train",
    ),
    ("talk to Triton and serve the gateway", ("tritonclient", "fastapi", "uvicorn"), "serve"),
    ("guard endpoints with NeMo Guardrails", ("nemoguardrails",), "guard"),
    ("open the console in a browser", ("gradio",), "ui"),
)


@dataclass(frozen=True)
class Ability:
    """One ability: `can` yes, no, or not_run for what was planned and checked but never carried out."""

    ability: str
    can: Literal["yes", "no", "not_run"]
    found: str
    fix: str = ""

    def document(self) -> dict[str, Any]:
        """The ability as one object of `opswright doctor --json`."""
        return asdict(self)


def examine(workspace: Workspace) -> list[Ability]:
    """Every line, quick and without side effects."""
    machine = Machine.here(workspace.root)
    lines = [_workspace(workspace, machine), *(_packages(*extra) for extra in _EXTRAS), *_engines()]
    lines += [_gpu(machine), _triton(workspace), _port(workspace), _mlflow(workspace)]
    return lines


def _workspace(workspace: Workspace, machine: Machine) -> Ability:
    size = (
        f"{machine.disk_free_gb:.0f} GB free, {machine.cpu_cores} cores, {machine.memory_gb:.0f} GB of memory"
    )
    found = f"{workspace.root}, {size}"
    if machine.disk_free_gb < 2:
        return Ability(
            "keep a workspace", "no", found, "Free at least 2 GB, or set OPSWRIGHT_HOME to another disk."
        )
    return Ability("keep a workspace", "yes", found)


def _packages(ability: str, modules: tuple[str, ...], *extras: str) -> Ability:
    if missing := missing_modules(modules):
        fix = install_hint(*extras) if extras else f"Install: {', '.join(missing)}."
        return Ability(ability, "no", f"not installed: {', '.join(missing)}", fix)
    return Ability(ability, "yes", f"{', '.join(modules) or 'everything'} installed")


def _engines() -> list[Ability]:
    """A line for each kind of engine, its precisions together."""
    return [_engine(target) for target in {target.summary: target for target in engine_targets()}.values()]


def _engine(target: EngineTarget) -> Ability:
    """One that is built here and runs elsewhere is said to be not run, however much of it is installed."""
    where = "build" if target.elsewhere else "build and run"
    modules = tuple(dict.fromkeys((*target.runs_with, *target.builds_with)))
    found = _packages(f"{where} engines with {target.summary}", modules, *target.build_extras)
    if found.can == "no" or not target.elsewhere:
        return found
    missing = target.lacking()
    return Ability(found.ability, "no" if missing else "not_run", missing or f"not run: {target.elsewhere}")


def _gpu(machine: Machine) -> Ability:
    if machine.gpus:
        names = ", ".join(f"{gpu.name} ({gpu.memory_gb:.0f} GB)" for gpu in machine.gpus)
        return Ability("train and serve on a GPU", "yes", names)
    return Ability(
        "train and serve on a GPU",
        "no",
        "NVML finds no NVIDIA GPU; everything runs on the CPU",
        f"On a machine with a GPU and driver: {install_hint('all', 'nemo')}",
    )


def _triton(workspace: Workspace) -> Ability:
    ability = "run a real Triton server"
    if has_own_server():
        return Ability(ability, "yes", f"TRITON_SERVER names {os.environ['TRITON_SERVER']}")
    if reason := PlatformFacts.here().lacks():
        fix = "Set TRITON_SERVER to a tritonserver binary; until then the in-process engine serves."
        return Ability(ability, "no", reason, fix)
    home = triton_home(workspace)
    if is_ready(home):
        return Ability(ability, "yes", f"installed in {home}")
    fix = "`opswright install triton` installs it now (250 MB), else the first deploy does."
    return Ability(ability, "yes", "from the nvidia-pytriton wheel, which is not installed yet", fix)


def _port(workspace: Workspace) -> Ability:
    serving = workspace.settings.serving
    ability = "listen for clients"
    port = USUAL if serving.gateway_port is None else serving.gateway_port
    with socket.socket() as probe:
        try:
            probe.bind((serving.host, port))
        except OSError:
            taken = f"port {port} is taken, by this workspace's gateway or another program"
            if serving.gateway_port is None:
                return Ability(ability, "yes", f"{taken}; a gateway takes a free one then")
            return Ability(ability, "yes", taken, "OPSWRIGHT_SERVING__GATEWAY_PORT=0 takes a free port.")
    return Ability(ability, "yes", f"port {port} of {serving.host} is free")


def _mlflow(workspace: Workspace) -> Ability:
    uri = workspace.settings.tracking_uri()
    return Ability("show the record in MLflow", "yes", f"tracking URI {uri}")
