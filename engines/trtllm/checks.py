"""What a check before a TensorRT-LLM build looks at, and how it says what it found.

The references name where users met it: issues of TensorRT-LLM, tensorrtllm_backend and others on GitHub.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ...core.contract import Finding
from .model_facts import ModelFacts
from .options import CheckName, TrtllmOptions

Level = Literal["ok", "warn", "stop"]


@dataclass(frozen=True)
class GpuTarget:
    """The GPUs that a bundle is for: kind, number, compute capability, GB of each, and GB that are free."""

    name: str
    number: int
    capability: str | None
    memory_gb: float
    free_gb: float


@dataclass(frozen=True)
class Subject:
    """What the checks look at.

    model: None when it is not trained yet; gpu: None where none is declared or found; memory_gb: of this
    machine; quantiser: why ModelOpt cannot run here, empty when it can; has_cuda: this machine has CUDA;
    builds_engines: an engine is compiled ahead; built_on: compute capability of this machine's GPU.
    """

    options: TrtllmOptions
    model: ModelFacts | None
    gpu: GpuTarget | None
    memory_gb: float
    quantiser: str = ""
    has_cuda: bool = False
    has_adapters: bool = False
    builds_engines: bool = False
    built_on: str | None = None


class Said(NamedTuple):
    """What a check says: how bad it is, the evidence, and what mends it."""

    level: Level
    evidence: str
    fix: str = ""


def ok(evidence: str) -> Said:
    """Nothing stands in the way."""
    return Said("ok", evidence)


def warn(evidence: str, fix: str) -> Said:
    """It will run, not as may be expected."""
    return Said("warn", evidence, fix)


def stop(evidence: str, fix: str = "") -> Said:
    """It would fail."""
    return Said("stop", evidence, fix)


@dataclass(frozen=True)
class FailureMode:
    """One way that users saw it fail: its name, where, and the pure function that looks for it."""

    name: CheckName
    reference: str
    look: Callable[[Subject], Said | None]

    def finding(self, subject: Subject) -> Finding | None:
        """What pre-flight shows; one that is overridden warns with the reason. None: it cannot be decided."""
        said = self.look(subject)
        if said is None or said.level == "ok":
            return said and Finding(level="ok", message=said.evidence)
        override: Mapping[CheckName, str] = subject.options.override
        if said.level == "stop" and self.name in override:
            return Finding(
                level="warn", message=f"{said.evidence} Overridden ({self.name}): {override[self.name]}"
            )
        fix = said.fix
        if said.level == "stop":
            fix = f"{fix} Or override '{self.name}' with the reason why.".strip()
        return Finding(level=said.level, message=f"{said.evidence} ({self.reference})", fix=fix)


def check(name: CheckName, reference: str) -> Callable[[Callable[[Subject], Said | None]], FailureMode]:
    """Make a function a check."""
    return lambda look: FailureMode(name, reference, look)
