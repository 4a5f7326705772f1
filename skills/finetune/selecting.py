"""Which weights are kept by a suite's score: each checkpoint is asked the suite as soon as it is saved.

What is asked is the saved model itself, loaded as an evaluation loads it, not the trainer's copy in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import BackendError
from .curve import drop_cut_line
from .status import SUITE, Job

if TYPE_CHECKING:
    from ...engines.checkpoint import CheckpointEngine
    from ...evals.suites import Suite

SCORES = "suite.jsonl"
BEST = "BEST_BY_SUITE"
_BASE = "base"


class SuiteJudge:
    """Scores checkpoints of a job's folder, remembers the scores in a file, and points at the best.

    A score that a crash prevented is made up for by `catch_up`, so that a training that was cut chooses as
    one that was not.
    """

    def __init__(self, folder: Path, checkpoints: Path, job: Job, ends: Sequence[int]) -> None:
        from ...evals.suites.portable import suite_of

        self.suite: Suite = suite_of(json.loads((folder / SUITE).read_text(encoding="utf-8")))
        self._base, self._checkpoints, self._job, self._ends = folder / _BASE, checkpoints, job, tuple(ends)
        self._begun: set[int] = set()

    def scores(self, below: int | None = None) -> list[tuple[int, float]]:
        """(step from 1, score) of each checkpoint that was asked, of steps up to `below`, in their order."""
        found = read_scores(self._checkpoints)
        return [(step, value) for step, value in found if below is None or step <= below]

    def judge(self, checkpoint: Path, step: int) -> float:
        """Ask a saved checkpoint of a step (from 1) the suite; its mean score."""
        self._write({"step": step})
        value = self._ask(checkpoint / "model")
        self._write({"step": step, "value": value})
        best_step, _ = best_of(self.scores())
        if best_step == step:
            self._point_at(checkpoint)
        return value

    def catch_up(self, checkpoint: Path, step: int) -> None:
        """Ask the checkpoint that a training goes on from, where the asking was begun and cut."""
        if step in _begun(self._checkpoints) and step not in dict(self.scores()):
            self.judge(checkpoint, step)

    def _ask(self, model: Path) -> float:
        import torch

        from ...evals.report import figure
        from ...evals.runner import run_suite

        with torch.random.fork_rng():  # the training goes on as if nobody had asked
            measured = run_suite(self.suite, self._open(model), str(model))
        metric = measured.metric
        value = figure(measured.items, metric, measured.scorers[metric])["value"]
        if value is None:
            raise BackendError(f"suite {self.suite.name} scored nothing, so it cannot choose weights.")
        return float(value)

    def _open(self, model: Path) -> CheckpointEngine:
        from ...engines.checkpoint import CheckpointEngine

        threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        whole = self._job.method == "sft"
        return CheckpointEngine(
            model / "consolidated" if whole else self._base,
            self._job.device,
            threads,
            adapter=None if whole else model,
            tokenizer=self._base,
            ends=self._ends,
        )

    def _write(self, record: dict[str, float]) -> None:
        with (self._checkpoints / SCORES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _point_at(self, checkpoint: Path) -> None:
        """AutoModel keeps what a link in its folder points to."""
        fresh = self._checkpoints / f".{BEST}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(checkpoint.name, target_is_directory=True)
        fresh.replace(self._checkpoints / BEST)


def read_scores(checkpoints: Path) -> list[tuple[int, float]]:
    """(step from 1, score) of each checkpoint that was asked, by step; of two records the later stands."""
    return sorted(
        {int(one["step"]): float(one["value"]) for one in _records(checkpoints) if "value" in one}.items()
    )


def best_of(scores: Sequence[tuple[int, float]]) -> tuple[int, float]:
    """The first of the highest."""
    return max(scores, key=lambda one: (one[1], -one[0]))


def _begun(checkpoints: Path) -> set[int]:
    return {int(one["step"]) for one in _records(checkpoints)}


def _records(checkpoints: Path) -> list[dict[str, float]]:
    path = checkpoints / SCORES
    if not path.is_file():
        return []
    drop_cut_line(path)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
