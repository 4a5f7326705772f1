"""What a training worker and the skill tell each other, through files in the work folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.errors import AskError, BackendError, NeedsError, OpswrightError
from ...core.files import write_atomically
from .tiny_shape import TinyShape

JOB = "job.json"
RECIPE = "recipe.yaml"
STATUS = "status.jsonl"
LOCK = ".lock"
FAILURE = "failure.json"
FINGERPRINT = "fingerprint"
RESULT = "result"
SUITE = "suite.json"  # the suite that chooses the weights, where one does
LOCK_S = 60.0  # for a worker that was told to end to be gone
STOPPED = 75  # the worker's exit code after a stop that saved a checkpoint (EX_TEMPFAIL)
_FAMILIES: dict[str, type[OpswrightError]] = {"AskError": AskError, "NeedsError": NeedsError}


@dataclass(frozen=True)
class Job:
    """What a worker is to do in its folder; tiny: the shape of the base it makes, where it makes one."""

    tiny: TinyShape | None
    method: str
    positions: int
    device: str  # cpu or cuda
    gpus: int
    nodes: int = 1
    keep_best: bool = False
    patience: int | None = None
    last_turn_only: bool = False
    kept_by_suite: bool = False
    has_teacher: bool = False

    @classmethod
    def read(cls, path: Path) -> Job:
        """The job in a file."""
        values = json.loads(path.read_text(encoding="utf-8"))
        shape = values.pop("tiny")
        return cls(tiny=None if shape is None else TinyShape.model_validate(shape), **values)

    def write(self, path: Path) -> None:
        """Put the job in a file."""
        values = {**asdict(self), "tiny": self.tiny and self.tiny.model_dump()}
        write_atomically(path, json.dumps(values, indent=1).encode())


def tell(folder: Path, **news: Any) -> None:
    """Append one line of news for the skill: `says` for a person, `step` and `total` for a progress bar."""
    with (folder / STATUS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(news) + "\n")
        file.flush()


def record_failure(folder: Path, error: OpswrightError) -> None:
    """Leave an error of ours for the skill to raise."""
    write_atomically(folder / FAILURE, json.dumps({"family": error.family, "message": str(error)}).encode())


def failure(folder: Path, log: Path) -> OpswrightError | None:
    """The error a worker left, in its family; None when it left none."""
    path = folder / FAILURE
    if not path.is_file():
        return None
    left = json.loads(path.read_text(encoding="utf-8"))
    family = _FAMILIES.get(left["family"])
    return family(left["message"]) if family else BackendError(left["message"], log=log)


class Tail:
    """Reads the whole JSON lines that were added to a file since it last looked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0

    def start(self, at: int) -> None:
        """Leave out what the file held before that byte."""
        self._at = at

    def read(self) -> list[dict[str, Any]]:
        """The new lines; one still being written is left for the next time."""
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < self._at:  # the file was begun anew
                self._at = 0
            file.seek(self._at)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._at += len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines() if line.strip()]
