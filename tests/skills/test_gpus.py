"""The `gpus` skill: NVML's figures as rows, and plain words where there is none."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from opswright.core.contract import StepContext
from opswright.skills.gpus import DCGM, GpuRow, GpusRequest, gpus, survey


class FakeNvml:
    """An NVML with some GPUs; what is in `missing` raises as a driver that does not give it."""

    class NVMLError(Exception):
        pass

    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0

    def __init__(self, count: int = 1, missing: tuple[str, ...] = (), driver: bool = True) -> None:
        self.count, self.missing, self.driver, self.open = count, missing, driver, 0

    def nvmlInit(self) -> None:
        if not self.driver:
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answers: dict[str, Any] = {
            "nvmlSystemGetDriverVersion": "580.65.06",
            "nvmlSystemGetCudaDriverVersion": 13020,
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetName": b"NVIDIA H200",
            "nvmlDeviceGetUUID": "GPU-1",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=144 << 30, used=1 << 30, free=143 << 30),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97, memory=40),
            "nvmlDeviceGetPowerUsage": 512_300,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetCudaComputeCapability": (9, 0),
            "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=42, usedGpuMemory=None)],
            "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetClockInfo": 1980,
            "nvmlDeviceGetTotalEccErrors": 0,
        }

        def call(*_: object) -> Any:
            if name in self.missing:
                raise self.NVMLError("Not Supported")
            return answers[name]

        return call


def test_a_gpu_is_shown_with_its_figures_in_their_units() -> None:
    nvml = FakeNvml(count=2)
    result = survey(nvml)
    assert result.message == "2 GPUs, 2 with processes: NVIDIA H200"
    assert (result.driver, result.cuda) == ("580.65.06", "13.2")
    row = result.gpus[1]
    assert (row.index, row.name, row.memory_total_mib, row.memory_used_mib) == (
        1,
        "NVIDIA H200",
        147456,
        1024,
    )
    assert (row.utilisation_percent, row.temperature_c, row.power_w) == (97, 61, 512.3)
    assert (row.compute_capability, row.processes[0].pid, row.processes[0].memory_mib) == ("9.0", 42, None)
    assert nvml.open == 0


def test_a_figure_the_driver_does_not_give_is_null_and_the_rest_is_shown() -> None:
    row = survey(FakeNvml(missing=("nvmlDeviceGetPowerUsage", "nvmlDeviceGetTotalEccErrors"))).gpus[0]
    assert (row.power_w, row.ecc_uncorrected, row.temperature_c) == (None, None, 61)


def test_a_gpu_that_fell_off_the_bus_is_named_beside_the_others() -> None:
    class OneLost(FakeNvml):
        def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
            if index == 0:
                raise self.NVMLError("GPU is lost")
            return "handle"

    lost, well = survey(OneLost(count=2)).gpus
    assert lost.name == "does not answer (GPU is lost)"
    assert well.name == "NVIDIA H200"


@pytest.mark.parametrize(
    ("nvml", "message"),
    [
        (FakeNvml(driver=False), "driver does not answer here (Driver Not Loaded)"),
        (FakeNvml(count=0), "no device"),
    ],
)
def test_a_machine_without_a_gpu_is_told_so_plainly(nvml: FakeNvml, message: str) -> None:
    result = survey(nvml)
    assert result.gpus == () and message in result.message
    assert nvml.open == 0


def test_every_dcgm_name_belongs_to_a_figure_of_a_row() -> None:
    assert set(DCGM) <= set(GpuRow.model_fields)


def test_the_skill_runs_on_this_machine_whatever_it_has(context: Callable[..., StepContext]) -> None:
    result = gpus(GpusRequest(), context())
    assert result.message
    assert bool(result.gpus) == ("No GPU" not in result.message)
