"""Scores of answers by a task's own metrics, which lm-evaluation-harness computes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, isfinite, log
from pathlib import Path
from typing import Any

from ...core.errors import AskError, did_you_mean
from ...data.sample import Sample
from ...engines import GenerationResult
from ..scorers.base import Score, Scorer
from .asking import responses
from .environment import Run, run_worker
from .task import PERPLEXITIES, LmEvalTask, TaskMetric

Pairs = Sequence[tuple[Sample, GenerationResult]]


def lm_eval_scorers(
    task: LmEvalTask, names: Sequence[str], trust: Path | None, run: Run = run_worker
) -> tuple[Scorer, ...]:
    """A scorer for each metric; AskError for one the task has not, HeldError for a folder not trusted."""
    task.check_trusted(trust)
    check_metrics(task, names)
    known, asked = task.built.scored_by(), AskedOnce(task, run)
    return tuple(
        Scorer(name, LmEvalMetric(asked, known[name]), known[name].is_binary, f"{known[name].key} of lm-eval")
        for name in names
    )


def check_metrics(task: LmEvalTask, names: Sequence[str]) -> None:
    """AskError for a metric by which no item of the task has a score."""
    known = task.built.scored_by()
    if wrong := next((name for name in names if name not in known), None):
        raise AskError(
            f"task {task.built.task} scores no item by '{wrong}' (it does by: {', '.join(known)})."
            + did_you_mean(wrong, known)
        )


@dataclass
class AskedOnce:
    """The worker's scores of some answers: all metrics of the same answers are computed at once."""

    task: LmEvalTask
    run: Run
    _known: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def scored(self, pairs: Pairs) -> Mapping[str, Any]:
        """`values` of each answered item by metric, and `totals` of the whole."""
        given = {item.id: responses(self.task, item, answer) for item, answer in pairs}
        answers = {name: some for name, some in given.items() if some is not None}
        if not answers:
            return {"values": {}, "totals": {}}
        key = json.dumps(answers)
        if key not in self._known:
            digest = self.task.digest
            asked = {**self.task.asked(), "action": "score", "digest": digest, "answers": answers}
            self._known[key] = self.run(asked)
        return self._known[key]


@dataclass
class LmEvalMetric:
    """One metric of a task, as a scorer's function."""

    asked: AskedOnce
    metric: TaskMetric

    def score_results(self, pairs: Pairs) -> list[Score]:
        """The score of each answer; no answer at all is 0. A detail has how likely each continuation was."""
        values = self.asked.scored(pairs)["values"]
        return [self._score(values.get(item.id), answer) for item, answer in pairs]

    def totals(self, pairs: Pairs) -> dict[str, float]:
        """The task's own figures over the answered items, named as lm-evaluation-harness names them."""
        totals = self.asked.scored(pairs)["totals"]
        return {name: value for name, value in totals.items() if isfinite(value)}

    def _score(self, values: Mapping[str, Any] | None, answer: GenerationResult) -> Score:
        if values is None:
            return Score(0.0)
        value = values.get(self.metric.key)
        logprobs = [round(one.logprob, 4) for one in answer.continuations]
        detail = {"logprobs": logprobs} if logprobs else None
        if value is None:
            return Score(None, "the task gave no number", detail)
        if self.metric.metric in PERPLEXITIES and not self.metric.own:
            return Score(_inverse(self.metric.metric, value), None, detail)
        return Score(value, None, detail)


def totals_of(
    scorers: Sequence[Scorer], items: Sequence[Sample], answers: Sequence[GenerationResult]
) -> dict[str, float]:
    """The figures of the whole that a task's own metrics give; empty for scorers of another kind."""
    pairs = list(zip(items, answers, strict=True))
    own = (one.function for one in scorers if isinstance(one.function, LmEvalMetric))
    return next((one.totals(pairs) for one in own), {})


def _inverse(metric: str, value: Any) -> float:
    """One over an item's perplexity, 0 to 1; of bits per byte, over that by byte."""
    logprob, length = (value, 1) if metric == "perplexity" else value
    return min(1.0, exp(max(logprob / max(length, 1), log(5e-324))))
