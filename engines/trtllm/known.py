"""What is known of GPUs and versions: `hardware.yaml` and `versions.yaml`, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...core.strict_yaml import read_yaml

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Hardware:
    """The formats that a GPU computes with, by its compute capability (`9.0`), and where that is said."""

    formats: dict[str, frozenset[str]]
    gpus: dict[str, tuple[str, ...]]
    source: str

    def with_format(self, name: str) -> tuple[str, ...]:
        """The GPUs that have a format."""
        return tuple(gpu for one, has in self.formats.items() if name in has for gpu in self.gpus[one])


@dataclass(frozen=True)
class Versions:
    """Versions of TensorRT-LLM: which container has which, which still build engines, what they load."""

    stable: str
    oldest: str
    oldest_for_modelopt: str
    last_with_engines: str
    triton: dict[str, str]
    architectures: frozenset[str]
    not_loaded_by_pytorch: frozenset[str]
    source: str

    def container_of(self, version: str) -> str | None:
        """The newest Triton container that has a version of TensorRT-LLM; None where none is known to."""
        return max((tag for tag, has in self.triton.items() if has == version), default=None)


@cache
def hardware() -> Hardware:
    """The table of compute capabilities."""
    read = _read("hardware.yaml")
    rows = read["capabilities"]
    return Hardware(
        formats={name: frozenset(row["formats"]) for name, row in rows.items()},
        gpus={name: tuple(row["gpus"]) for name, row in rows.items()},
        source=read["source"],
    )


@cache
def versions() -> Versions:
    """The table of versions."""
    read = _read("versions.yaml")
    names = {"architectures", "not_loaded_by_pytorch"}
    values: dict[str, Any] = {key: frozenset(value) if key in names else value for key, value in read.items()}
    return Versions(**values)


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = read_yaml(_HERE / name, "table").data
    return found
