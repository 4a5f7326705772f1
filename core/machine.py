"""What this machine is: the facts a pre-flight check and an estimate may use."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_GB = 1e9


@dataclass(frozen=True)
class Gpu:
    """One GPU as NVML names it; None is what it does not say.

    free_gb: memory that no process holds. capability: CUDA compute capability, as 9.0.
    """

    name: str
    memory_gb: float
    free_gb: float | None = None
    capability: str | None = None


@dataclass(frozen=True)
class Machine:
    """Cores, memory, disk and GPUs of one machine."""

    system: str
    architecture: str
    python: str
    cpu_cores: int
    memory_gb: float
    disk_free_gb: float
    gpus: tuple[Gpu, ...]

    @classmethod
    def here(cls, folder: Path) -> Machine:
        """This machine, with the free disk of the volume that `folder` is on."""
        while not folder.exists():
            folder = folder.parent
        return cls(
            system=platform.system().lower(),
            architecture=platform.machine(),
            python=".".join(map(str, sys.version_info[:3])),
            cpu_cores=len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1,
            memory_gb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GB,
            disk_free_gb=shutil.disk_usage(folder).free / _GB,
            gpus=_gpus(),
        )


def _gpus() -> tuple[Gpu, ...]:
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return tuple(_gpu(pynvml, handle) for handle in handles)
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: Any, handle: Any) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    try:
        capability = ".".join(map(str, nvml.nvmlDeviceGetCudaComputeCapability(handle)))
    except nvml.NVMLError:
        capability = None
    return Gpu(nvml.nvmlDeviceGetName(handle), memory.total / _GB, memory.free / _GB, capability)
