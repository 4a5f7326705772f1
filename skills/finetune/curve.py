"""The loss curve: what AutoModel wrote in training.jsonl and validation.jsonl, one record a step."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import BackendError

# Kept of each record: what the training was, not how fast this machine went or when.
_KEPT = (
    *("step", "epoch", "loss", "grad_norm", "lr", "num_tokens_per_step", "num_label_tokens", "val_loss"),
    *("accuracy", "val_accuracy"),  # of a classifier
)
_TAIL_STEPS = 20
VALIDATION = "validation.jsonl"


@dataclass(frozen=True)
class Curve:
    """The records of a whole training, ordered by step, each step once."""

    training: tuple[Mapping[str, Any], ...]
    validation: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, folder: Path) -> Curve:
        """The curve in a checkpoint folder; of a step done twice (after a crash) the later record stands."""
        return cls(_records(folder / "training.jsonl"), _records(folder / VALIDATION))

    @property
    def final_loss(self) -> float:
        """Mean loss of the last 20 steps; BackendError when there are none or it is not a number."""
        last = [float(record["loss"]) for record in self.training[-_TAIL_STEPS:]]
        mean = statistics.fmean(last) if last else math.nan
        if not math.isfinite(mean):
            raise BackendError(
                f"training diverged: the mean loss of the last {len(last)} steps is {mean}. "
                "Lower learning_rate."
            )
        return mean

    @property
    def validation_loss(self) -> float | None:
        """The validation loss after the last validation; None without validation rows."""
        return float(self.validation[-1]["val_loss"]) if self.validation else None

    def validation_loss_at(self, step: int) -> float | None:
        """The validation loss after a step (counted from 1); the last before it where it had none."""
        upto = [record for record in self.validation if int(record["step"]) < step]
        return float(upto[-1]["val_loss"]) if upto else None

    def write(self, folder: Path) -> None:
        """Put the curve in a folder: training.jsonl, validation.jsonl and the summary training.json.

        The bytes depend on the training alone, so a repeated training gives the same artifact.
        """
        _write_lines(folder / "training.jsonl", self.training)
        if self.validation:
            _write_lines(folder / VALIDATION, self.validation)
        every = max(1, len(self.training) // 50)
        summary = {
            "steps": len(self.training),
            "first_loss": self.training[0]["loss"],
            "final_loss": self.final_loss,
            "validation_loss": self.validation_loss,
            "tokens": sum(int(record.get("num_tokens_per_step", 0)) for record in self.training),
            "loss_every_steps": every,
            "loss": [round(float(record["loss"]), 4) for record in self.training[::every]],
        }
        (folder / "training.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def drop_cut_line(path: Path) -> None:
    """Take a last line that a crash cut off a JSONL file, so that the next record has its own."""
    if path.is_file():
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with path.open("rb+") as file:
                file.truncate(whole)


def tokens_per_second(records: Sequence[Mapping[str, Any]]) -> float:
    """Median over steps of the rate AutoModel measured; 0 without records."""
    return statistics.median([float(record["tps"]) for record in records]) if records else 0.0


def _records(path: Path) -> tuple[dict[str, Any], ...]:
    if not path.is_file():
        return ()
    by_step: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut by a crash; the resumed training wrote the step again
        by_step[int(record["step"])] = {name: record[name] for name in _KEPT if name in record}
    return tuple(by_step[step] for step in sorted(by_step))


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
