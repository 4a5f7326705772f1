"""What lets NeMo AutoModel train without a GPU: three names it takes from CUDA unasked.

Written for and checked with one version of nemo-automodel; others are refused until this file is checked
again. Nothing here runs where CUDA is available.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from ...core.errors import NeedsError
from ...core.install import install_hint
from .recipe import AUTOMODEL


class _CpuTorch(ModuleType):
    """The torch module, except that every device it is asked for is the CPU."""

    def __init__(self, torch: ModuleType) -> None:
        super().__init__("torch")
        self._torch = torch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)

    def device(self, *_: object, **__: object) -> Any:
        return self._torch.device("cpu")


def installed_version() -> str | None:
    """The version of nemo-automodel that is installed; None when it is not."""
    try:
        return version("nemo-automodel")
    except PackageNotFoundError:
        return None


def check_version(found: str | None) -> None:
    """NeedsError unless the version found is exactly the one that this shim was written for."""
    if found is None:
        raise NeedsError(f"nemo-automodel is not installed. Install it: {install_hint('train')}")
    if found != AUTOMODEL:
        raise NeedsError(
            f"training on CPU needs nemo-automodel {AUTOMODEL}, the version its shim was checked with; found "
            f"{found}. Install that one: {install_hint('train')}"
        )


def install() -> bool:
    """Put the shim in place where there is no CUDA; whether it was needed."""
    import torch

    if torch.cuda.is_available():
        return False
    check_version(installed_version())
    from nemo_automodel._transformers import auto_model

    torch.cuda.reset_peak_memory_stats = lambda *_, **__: None
    torch.cuda.current_device = lambda: torch.device("cpu")  # type: ignore[assignment, return-value]
    auto_model.torch = _CpuTorch(torch)
    return True
