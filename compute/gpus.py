"""GPUs that a training is declared for, `h100x2`, and what NVIDIA's data sheets say of them.

Memory in GB (10^9 bytes as sold), dense bfloat16 tensor throughput in TFLOPS (float16 where a GPU has no
bfloat16), of the SXM part where there are several. Sources: the data sheets of each GPU at nvidia.com
(T4 2019, A10 and A100 2021, L4, L40S and H100 2023, H200 2024, B200 as in HGX B200 2025); figures given
there with sparsity are halved. Compute capabilities: developer.nvidia.com/cuda-gpus.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ..core.errors import did_you_mean


@dataclass(frozen=True)
class GpuModel:
    """One kind of GPU: memory in GB, dense TFLOPS, compute capability, whether it computes in bfloat16."""

    memory_gb: float
    tflops: float
    capability: str
    has_bfloat16: bool = True


GPU_MODELS = {
    "t4": GpuModel(16, 65, "7.5", has_bfloat16=False),
    "a10": GpuModel(24, 125, "8.6"),
    "l4": GpuModel(24, 121, "8.9"),
    "l40s": GpuModel(48, 362, "8.9"),
    "a100-40gb": GpuModel(40, 312, "8.0"),
    "a100-80gb": GpuModel(80, 312, "8.0"),
    "h100": GpuModel(80, 989, "9.0"),
    "h100-pcie": GpuModel(80, 756, "9.0"),
    "h200": GpuModel(141, 989, "9.0"),
    "b200": GpuModel(180, 2250, "10.0"),
}
_DECLARED = re.compile(r"([a-z0-9-]+?)(?:x([1-8]))?")


class DeclaredGpus(str):
    """One to eight GPUs of a kind: its name, and `x` with their number where there are several."""

    @property
    def model(self) -> GpuModel:
        """What is known of the kind."""
        return GPU_MODELS[self.kind]

    @property
    def kind(self) -> str:
        """The name of the kind."""
        return self._parts(self)[0]

    @property
    def number(self) -> int:
        """How many there are."""
        return self._parts(self)[1]

    @classmethod
    def number_in(cls, text: str) -> int:
        """How many a text declares; 1 for one that declares none."""
        found = _DECLARED.fullmatch(text)
        return int(found[2] or 1) if found else 1

    @staticmethod
    def _parts(text: str) -> tuple[str, int]:
        found = _DECLARED.fullmatch(text)
        if found is None or found[1] not in GPU_MODELS:
            known = ", ".join(GPU_MODELS)
            name = text.partition("x")[0]
            raise ValueError(
                f"unknown GPU '{text[:40]}': expected one of {known}, with x2 to x8 for several, as h100x2."
                + did_you_mean(name, GPU_MODELS)
            )
        return found[1], int(found[2] or 1)

    @classmethod
    def _check(cls, value: str) -> DeclaredGpus:
        cls._parts(value)
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls._check, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )


def known_gpu(name: str, memory_gb: float) -> GpuModel | None:
    """The kind that a GPU is by NVML's name (`NVIDIA H100 80GB HBM3`) and memory; None for others."""
    words = set(re.split(r"[\s-]+", name.lower()))
    fitting: Iterable[tuple[str, GpuModel]] = (
        (key, model)
        for key, model in GPU_MODELS.items()
        if key.partition("-")[0] in words and abs(model.memory_gb - memory_gb) < 0.15 * model.memory_gb
    )
    chosen = sorted(fitting, key=lambda one: ("pcie" in one[0]) != ("pcie" in words))
    return chosen[0][1] if chosen else None
