"""Engines: what turns a checkpoint into something a server can run, and runs it.

A builder is chosen by its target's name; each target has one small file behind the same Protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ...core.errors import AskError, did_you_mean

Target = Literal["onnx-int8", "onnx-int4", "onnx-fp32"]
Message = Mapping[str, str]  # role, content


@dataclass(frozen=True)
class ParityCase:
    """One held-out prompt as the checkpoint and the engine built from it answer it, both greedily."""

    text: str
    checkpoint: str
    engine: str

    @property
    def agrees(self) -> bool:
        """Whether both gave the same answer."""
        return self.checkpoint == self.engine


@dataclass(frozen=True)
class BuildResult:
    """A built engine: its folder, the tools and their versions, and every case of the parity check."""

    folder: Path
    target: Target
    tools: Mapping[str, str]
    cases: tuple[ParityCase, ...]

    @property
    def size_bytes(self) -> int:
        """The size of all files below its folder."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    @property
    def agreement(self) -> float:
        """The share of cases with the same answer, 0 to 1."""
        return sum(case.agrees for case in self.cases) / len(self.cases)


@dataclass(frozen=True)
class WorkerCall:
    """A command that works in a folder: what it reads and leaves there, and what its environment adds."""

    command: tuple[str, ...]
    folder: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    environment: Mapping[str, str]
    prepare: Callable[[], None]  # lays the folder out; not called when the command was begun before


# Carries the call out wherever work runs, and gives the folder its outputs are in; raises BackendError.
RunWorker = Callable[[WorkerCall], Path]


class EngineBuilder(Protocol):
    """Makes engines for one family of targets."""

    def build(
        self,
        checkpoint: Path,
        folder: Path,
        parity_texts: Sequence[str],
        *,
        max_new_tokens: int,
        threads: int,
        run: RunWorker,
    ) -> BuildResult:
        """Build the engine of a Hugging Face folder in a folder of its own, and try it on the checkpoint.

        parity_texts: user messages that both answer greedily. The work is handed to `run` as one command.
        """


def builder_for(target: str) -> EngineBuilder:
    """The builder of a target; AskError, with the nearest name, for an unknown one."""
    from .onnx import PRECISIONS, OnnxBuilder

    if target in PRECISIONS:
        return OnnxBuilder(target)
    raise AskError(
        f"unknown engine target '{target}': expected {', '.join(PRECISIONS)}."
        + did_you_mean(target, PRECISIONS)
    )
