"""What a builder does: a checkpoint in, an engine and every case of its parity check out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..base import Chat


@dataclass(frozen=True)
class ParityCase:
    """One held-out prompt as the checkpoint and the engine built from it answer it, both greedily.

    text: what the user said last. place: which of the prompts it was, from 0.
    """

    text: str
    checkpoint: str
    engine: str
    place: int = 0

    @property
    def agrees(self) -> bool:
        """Whether both gave the same answer."""
        return self.checkpoint == self.engine


@dataclass(frozen=True)
class BuildResult:
    """A built engine: its folder, the tools and their versions, and every case of the parity check.

    facts: what else its manifest says, such as what was not run.
    """

    folder: Path
    target: str
    tools: Mapping[str, str]
    cases: tuple[ParityCase, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

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
    """Makes engines of one target."""

    def build(
        self,
        checkpoint: Path,
        folder: Path,
        prompts: Sequence[Chat],
        *,
        calibration: Sequence[Chat],
        max_new_tokens: int,
        min_agreement: float,
        threads: int,
        kept: Path,
        run: RunWorker,
    ) -> BuildResult:
        """Build the engine of a Hugging Face folder in a folder of its own, and try it on the checkpoint.

        prompts: conversations that both answer greedily. calibration: prompts of training rows, for a target
        that calibrates. min_agreement: the share of prompts that both must answer alike, for a target with
        another way when they do not. kept: a folder of the workspace for what later builds may take up
        again. The work is handed to `run` as one command.
        """
