"""Which engines can be built and opened: the built-in targets, and entry points of `opswright.engines`.

A target is one declaration. An entry point has the target's name and points at its EngineTarget:
request, pre-flight, build, evaluation, both servers and `doctor` find what they need there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from ..core.entry_points import entry_points_of
from ..core.errors import AskError, BackendError, did_you_mean
from .base import Engine

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from ..core.contract import Finding
    from ..core.machine import Machine
    from .builders.base import EngineBuilder
    from .triton_text import TritonTextModel

GROUP = "opswright.engines"
DEFAULT_TARGET = "onnx-int8"
_BUILT_IN = {
    "onnx-int8": "opswright.engines.onnx_targets:INT8",
    "onnx-int4": "opswright.engines.onnx_targets:INT4",
    "onnx-fp32": "opswright.engines.onnx_targets:FP32",
    "trtllm": "opswright.engines.trtllm.targets:TRTLLM",
    "trtllm-engine": "opswright.engines.trtllm.legacy:ENGINE",
}


Feature = Literal["text", "tools", "json_schema", "logprobs"]
"""What an engine may be asked for: a prompt without a chat template, tools that its template renders, answers
held to a JSON schema while they are made, the log-probability of each token."""


class TargetOptions(BaseModel):
    """What else a target is told, by `options` of a build; a target without any takes none."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        """Refuse an option that the target has not, with the nearest that it has."""
        for name in given if isinstance(given, Mapping) else ():
            if name not in cls.model_fields:
                known = ", ".join(cls.model_fields) or "none"
                nearest = did_you_mean(str(name), cls.model_fields)
                about = f"unknown option '{name}' (it takes: {known}).{nearest}"
                raise PydanticCustomError("unknown_option", "{about}", {"about": about})
        return given


@dataclass(frozen=True)
class TargetSubject:
    """What a target's own checks look at: what is asked, the checkpoint's folder once it is there, and where.

    has_adapters: the weights are adapters, beside a base.
    """

    options: TargetOptions
    checkpoint: Path | None
    has_adapters: bool
    machine: Machine


@dataclass(frozen=True)
class EngineTarget:
    """One kind of bundle: how it is built, opened and served, and what that needs.

    open: the engine of a bundle's `engine/` folder, with so many CPU threads. builder: made from the options.
    adapter_builder: the builder that leaves a folder of adapters unmerged beside their base; None: it takes
    merged weights alone. options: what a build may be told besides; checks: what stops it, with them.
    calibrates: whether it looks at training rows. elsewhere: what serves it, where nothing here can.
    lacking: what a build needs besides modules and has not here, empty when it has all.
    runs_with and builds_with: modules that must be importable; extras: what of Opswright's own brings them,
    empty for another package's.
    triton: a folder with the `model.py` that Triton's Python backend runs it with, and the files beside it;
    None: it is served in-process only. triton_text: of a bundle's `engine/` folder, what speaks to a Triton
    model of somebody else's code, which servers elsewhere run. build_s: seconds a build takes, by the
    checkpoint's bytes and the number of parity prompts, None where that is not known. features: what it can
    beside answering a chat.
    """

    name: str
    summary: str
    open: Callable[[Path, int], Engine]
    builder: Callable[[TargetOptions], EngineBuilder]
    adapter_builder: Callable[[TargetOptions, Path], EngineBuilder] | None = None
    options: type[TargetOptions] = TargetOptions
    checks: Callable[[TargetSubject], Sequence[Finding]] = lambda subject: ()
    calibrates: Callable[[TargetOptions], bool] = lambda options: False
    elsewhere: str = ""
    lacking: Callable[[], str] = lambda: ""
    runs_with: tuple[str, ...] = ()
    builds_with: tuple[str, ...] = ()
    run_extras: tuple[str, ...] = ()
    build_extras: tuple[str, ...] = ()
    triton: Path | None = None
    triton_text: Callable[[Path], TritonTextModel] | None = None
    build_s: Callable[[int, int], float | None] = lambda model_bytes, prompts: None
    features: frozenset[Feature] = frozenset()


def engine_target(name: str, group: Iterable[EntryPoint] | None = None) -> EngineTarget:
    """The target of that name; AskError with the nearest one otherwise."""
    if name in _BUILT_IN:
        return _load(name, _BUILT_IN[name])
    installed = _installed(group)
    if name in installed:
        return _load(name, installed[name])
    known = [*_BUILT_IN, *sorted(installed)]
    raise AskError(
        f"unknown engine target '{name}' (there are: {', '.join(known)}).{did_you_mean(name, known)}"
    )


def built_in_targets() -> list[EngineTarget]:
    """The targets of Opswright itself."""
    return [_load(name, value) for name, value in _BUILT_IN.items()]


def engine_targets(group: Iterable[EntryPoint] | None = None) -> list[EngineTarget]:
    """Every target: the built-in ones, then what installed packages bring, by name."""
    found = {**_BUILT_IN, **dict(sorted(_installed(group).items()))}
    return [_load(name, value) for name, value in found.items()]


def _installed(group: Iterable[EntryPoint] | None) -> dict[str, str]:
    points = entry_points_of(GROUP) if group is None else group
    return {point.name: point.value for point in points if point.name not in _BUILT_IN}


def _load(name: str, value: str) -> EngineTarget:
    """The declaration at `module:attribute`."""
    module, _, attribute = value.partition(":")
    found = getattr(import_module(module), attribute, None)
    if not isinstance(found, EngineTarget) or found.name != name:
        raise BackendError(
            f"{value} is not the EngineTarget '{name}'. Declare it so, or remove its entry point in {GROUP}."
        )
    return found
