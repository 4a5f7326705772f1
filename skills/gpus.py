"""The `gpus` skill: what each NVIDIA GPU of this machine is doing, as NVML says it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from ..core.contract import Effect, Request, Result, StepContext, skill

T = TypeVar("T")

# Which DCGM exporter metric carries the same figure, so that a dashboard finds it under its known name.
DCGM = {
    "memory_used_mib": "DCGM_FI_DEV_FB_USED",
    "memory_free_mib": "DCGM_FI_DEV_FB_FREE",
    "utilisation_percent": "DCGM_FI_DEV_GPU_UTIL",
    "memory_utilisation_percent": "DCGM_FI_DEV_MEM_COPY_UTIL",
    "temperature_c": "DCGM_FI_DEV_GPU_TEMP",
    "power_w": "DCGM_FI_DEV_POWER_USAGE",
    "sm_clock_mhz": "DCGM_FI_DEV_SM_CLOCK",
    "ecc_uncorrected": "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
}
_MIB = 1 << 20


class GpusRequest(Request):
    """Nothing to ask: all GPUs of this machine."""


class GpuProcess(BaseModel):
    """One process that computes on a GPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    memory_mib: float | None = Field(description="GPU memory it holds, in MiB; null where NVML may not say.")


class GpuRow(BaseModel):
    """One GPU; a figure that this GPU or driver does not give is null."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    name: str
    uuid: str
    memory_total_mib: float | None = None
    memory_used_mib: float | None = None
    memory_free_mib: float | None = None
    utilisation_percent: float | None = None
    memory_utilisation_percent: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    sm_clock_mhz: float | None = None
    ecc_uncorrected: int | None = None
    compute_capability: str | None = None
    processes: tuple[GpuProcess, ...] = ()


class GpusResult(Result):
    """The GPUs, or why there are none."""

    gpus: tuple[GpuRow, ...]
    driver: str | None = Field(description="Driver version, null without a driver.")
    cuda: str | None = Field(description="Newest CUDA version the driver supports, null without a driver.")
    dcgm: dict[str, str] = Field(description="Figure to the name DCGM's exporter gives it.")
    message: str = Field(description="The outcome in one sentence.")


class Nvml(Protocol):
    """The part of NVML that is read, as `pynvml` offers it; every call may raise `NVMLError`."""

    @property
    def NVMLError(self) -> type[Exception]:
        """What every call may raise."""

    def nvmlInit(self) -> None:
        """Begin."""

    def nvmlShutdown(self) -> None:
        """End."""

    def nvmlDeviceGetCount(self) -> int:
        """How many GPUs there are."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The other functions and constants."""


@skill(
    effect=Effect.READS,
    summary="Show this machine's GPUs: memory, load, temperature, power and processes.",
    phrases=[
        "show the gpus",
        "show gpus",
        "list the gpus",
        "list gpus",
        "gpu status",
        "gpu memory",
        "is there a gpu",
        "is there any gpu",
        "are there gpus",
        "are there any gpus",
        "do we have a gpu",
        "do we have gpus",
        "does this machine have a gpu",
        "how busy are the gpus",
        "how busy is the gpu",
        "how much gpu memory is free",
        "what gpus are there",
        "what gpus do we have",
        "which gpus are there",
        "which gpus do we have",
        "how many gpus are there",
        "how many gpus do we have",
        "how hot are the gpus",
        "check the gpus",
        "check the gpu",
        "what are the gpus doing",
        "what is the gpu doing",
        "what is running on the gpu",
        "what is running on the gpus",
        "show me the gpus",
        "gpu load",
        "gpu temperature",
        "how much memory does the gpu have",
        "how many gpus",
        "how many graphics cards",
        "how warm are the gpus",
        "which processes use the gpu",
        "is the gpu busy",
        "are the gpus busy",
        "is the gpu free",
        "show the graphics cards",
        "show graphics cards",
        "show the graphic cards",
        "list the graphics cards",
        "list graphics cards",
        "check how busy the gpus are",
        "see how busy the gpus are",
        "how busy the gpus are",
        "how many graphic cards",
        "what graphics cards are there",
        "how full are the gpus",
        "how loaded are the gpus",
        "what are the gpus up to",
        "any gpu free",
        "any gpus free",
        "is any gpu free",
        "is there a free gpu",
        "is there a gpu free",
        "are any gpus free",
        "free gpus",
        "gpu usage",
        "gpu use",
        "gpu utilisation",
        "gpu utilization",
        "gpus",
        "state of the gpus",
        "status of the gpus",
        "load of the gpus",
        "temperature of the gpus",
        "what do the gpus do",
        "how are the gpus doing",
        "how are the gpus",
        "how is the gpu doing",
        "gpu state",
        "gpu processes",
        "gpu overview",
        "what runs on the gpus",
        "what runs on the gpu",
        "who is using the gpus",
        "who uses the gpus",
        "is the gpu hot",
        "are the gpus hot",
        "how much gpu memory is left",
        "how much gpu memory do we have",
        "how much memory is free on the gpus",
        "how much memory is free on the gpu",
        "how much power do the gpus draw",
        "which gpu do we have",
        "what gpu do we have",
        "what kind of gpu do we have",
        "nvidia-smi",
        "gpu check",
        "memory of the gpus",
        "graphics cards",
        "nvidia cards",
        "gpu cards",
        "which gpus are busy",
        "which gpus are free",
        "which gpu is free",
        "cards on this machine",
    ],
)
def gpus(request: GpusRequest, ctx: StepContext) -> GpusResult:
    """Read every GPU through NVML; a machine without one is a result, not an error.

    Example: `/gpus`
    """
    return read_gpus()


def read_gpus() -> GpusResult:
    """Every GPU of this machine as NVML says it now, or why there is none to see."""
    try:
        import pynvml
    except ImportError:
        return _none("NVML's Python package is missing (pip install nvidia-ml-py), so GPUs cannot be seen.")
    return survey(pynvml)


def survey(nvml: Nvml) -> GpusResult:
    """The GPUs that an NVML shows."""
    with _session(nvml) as failed:
        if failed is not None:
            return _none(
                f"No GPU: the NVIDIA driver does not answer here ({failed}). Training and serving use CPUs."
            )
        count = nvml.nvmlDeviceGetCount()
        driver = _maybe(nvml, lambda: _text(nvml.nvmlSystemGetDriverVersion()))
        cuda = _maybe(nvml, nvml.nvmlSystemGetCudaDriverVersion)
        rows = tuple(_row(nvml, index) for index in range(count))
    if not rows:
        return _none("No GPU: the NVIDIA driver answers but shows no device.", driver)
    busy = sum(bool(row.processes) for row in rows)
    return GpusResult(
        gpus=rows,
        driver=driver,
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
        dcgm=DCGM,
        message=f"{len(rows)} GPU{'s' if len(rows) > 1 else ''}, {busy} with processes: "
        + ", ".join(dict.fromkeys(row.name for row in rows)),
    )


def _none(message: str, driver: str | None = None) -> GpusResult:
    return GpusResult(gpus=(), driver=driver, cuda=None, dcgm=DCGM, message=message)


@contextmanager
def _session(nvml: Nvml) -> Iterator[str | None]:
    """NVML from its start to its end; gives why it did not start, or None."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        yield str(error)
        return
    try:
        yield None
    finally:
        nvml.nvmlShutdown()


def _row(nvml: Nvml, index: int) -> GpuRow:
    try:
        gpu = nvml.nvmlDeviceGetHandleByIndex(index)
        name, uuid = _text(nvml.nvmlDeviceGetName(gpu)), _text(nvml.nvmlDeviceGetUUID(gpu))
    except nvml.NVMLError as error:  # a GPU that fell off the bus must not hide the others
        return GpuRow(index=index, name=f"does not answer ({error})", uuid="")
    memory = _maybe(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(gpu))
    load = _maybe(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(gpu))
    milliwatts = _maybe(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(gpu))
    limit = _maybe(nvml, lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu))
    capability = _maybe(nvml, lambda: nvml.nvmlDeviceGetCudaComputeCapability(gpu))
    running = _maybe(nvml, lambda: nvml.nvmlDeviceGetComputeRunningProcesses(gpu)) or []
    return GpuRow(
        index=index,
        name=name,
        uuid=uuid,
        memory_total_mib=memory.total / _MIB if memory else None,
        memory_used_mib=memory.used / _MIB if memory else None,
        memory_free_mib=memory.free / _MIB if memory else None,
        utilisation_percent=load.gpu if load else None,
        memory_utilisation_percent=load.memory if load else None,
        temperature_c=_maybe(nvml, lambda: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
        power_w=None if milliwatts is None else milliwatts / 1000,
        power_limit_w=None if limit is None else limit / 1000,
        sm_clock_mhz=_maybe(nvml, lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)),
        ecc_uncorrected=_maybe(
            nvml,
            lambda: nvml.nvmlDeviceGetTotalEccErrors(
                gpu, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
            ),
        ),
        compute_capability=None if capability is None else ".".join(map(str, capability)),
        processes=tuple(
            GpuProcess(
                pid=process.pid,
                memory_mib=None if process.usedGpuMemory is None else process.usedGpuMemory / _MIB,
            )
            for process in running
        ),
    )


def _maybe(nvml: Nvml, read: Callable[[], T]) -> T | None:
    """One figure, or None where the GPU or the driver does not give it."""
    try:
        return read()
    except nvml.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
