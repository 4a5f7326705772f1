"""Runs a suite on a target: every item asked once, scored, and put into its slices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..core.errors import BackendError, IntegrityError
from ..data.sample import Sample, Task
from ..data.text import label_form
from ..engines import Engine, GenerationOptions, GenerationResult, Progress
from .metrics import exact_match
from .suites import Suite


@dataclass(frozen=True)
class SampleResult:
    """One item: what was expected, what came, its scores by scorer, and the slices it counts in.

    A scorer that could not score an answer has no entry in `scores`: it is missing, not zero.
    """

    id: str
    text: str
    expected: str
    got: str | None
    scores: Mapping[str, float]
    slices: tuple[str, ...]
    group: str | None = None  # items of one group are one observation
    latency_ms: float | None = None
    error: str | None = None
    finish: str = "stop"  # why the answer ended; `length`: it was cut

    def score(self, metric: str) -> float | None:
        """Its score by a metric, 0 to 1; None when it has none."""
        return self.scores.get(metric)

    def is_correct(self, metric: str) -> bool:
        """Whether it has the full score of a metric."""
        return self.scores.get(metric, 0.0) >= 1

    def line(self) -> dict[str, Any]:
        """The item as its line in items.jsonl."""
        return {**asdict(self), "slices": dict.fromkeys(self.slices, True)}

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> SampleResult:
        """The item of a line."""
        kept = {**line, "slices": tuple(line["slices"])}
        if "ok" in kept:  # a report of version 0.1
            kept["scores"] = {"exact_match": float(kept.pop("ok")), "known_label": float(kept.pop("known"))}
        return cls(**kept)


@dataclass(frozen=True)
class EvalResult:
    """One model on one suite: its items by id, and every slice, with or without items."""

    model: str
    suite: str
    suite_digest: str
    slices: tuple[str, ...]
    items: tuple[SampleResult, ...]
    leaked: int | None = None  # items that are also in the model's training rows; None when those are unknown
    task: Task = "classify"

    def within(self, name: str | None) -> list[SampleResult]:
        """The items of one slice, or all."""
        return [item for item in self.items if name is None or name in item.slices]

    @property
    def errors(self) -> int:
        """Items that the engine failed to answer."""
        return sum(item.error is not None for item in self.items)

    @property
    def cut(self) -> int:
        """Items whose answer was cut, because it had as many tokens as it may have."""
        return sum(item.finish == "length" for item in self.items)

    @property
    def refused(self) -> int:
        """Items that the model cannot take, as those too long for its context; they count as wrong."""
        return sum(item.finish == "refused" for item in self.items)


def choose_items(suite: Suite, limit: int | None) -> list[Sample]:
    """The suite's items by id, or the same random `limit` of them on every run and for every model."""
    items = list(suite.items)
    if limit is not None and limit < len(items):
        items = sorted(items, key=lambda item: hashlib.sha256(item.id.encode()).digest())[:limit]
    return sorted(items, key=lambda item: item.id)


def run_suite(
    suite: Suite,
    engine: Engine,
    model: str,
    slices: Mapping[str, frozenset[str]],
    limit: int | None,
    progress: Progress,
    max_new_tokens: int = 256,
) -> EvalResult:
    """Ask an engine greedily every chosen item; BackendError when it gave no answer to any of them."""
    items = choose_items(suite, limit)
    options = GenerationOptions(max_tokens=max_new_tokens)
    answers = engine.generate([item.prompt for item in items], options, progress)
    if len(answers) != len(items):
        raise BackendError(f"the engine returned {len(answers)} answers to {len(items)} prompts.")
    failed = [answer.error for answer in answers if answer.error is not None]
    if items and len(failed) == len(items):
        raise BackendError(f"the engine answered none of {len(items)} prompts; the first error: {failed[0]}")
    results = tuple(score(suite, items, answers, slices))
    return EvalResult(model, suite.name, suite.digest, tuple(slices), results, task=suite.task)


def score(
    suite: Suite,
    items: Sequence[Sample],
    answers: Iterable[GenerationResult],
    slices: Mapping[str, frozenset[str]],
) -> list[SampleResult]:
    """Each item beside its answer, without the white space around it."""
    known = {label_form(label) for label in suite.labels}
    results = []
    for item, answer in zip(items, answers, strict=True):
        got = None if answer.text is None else answer.text.strip()
        result = SampleResult(
            id=item.id,
            text=item.question,
            expected=item.answer or "",
            got=got,
            scores={
                "exact_match": float(exact_match(item.answer or "", got, suite.task)),
                "known_label": float(got is not None and label_form(got) in known),
            },
            slices=tuple(
                sorted(name for name, domains in slices.items() if item.tags.get("domain") in domains)
            ),
            group=item.group,
            latency_ms=None if answer.error else round(answer.latency_ms, 3),
            error=None if answer.finish_reason == "refused" else answer.error,
            finish=answer.finish_reason,
        )
        results.append(result)
    return results


def to_lines(items: Iterable[SampleResult]) -> bytes:
    """The items as JSON lines, sorted by id."""
    ordered = sorted(items, key=lambda item: item.id)
    return b"".join(json.dumps(item.line(), ensure_ascii=False).encode() + b"\n" for item in ordered)


def read_lines(data: bytes) -> tuple[SampleResult, ...]:
    """The items of JSON lines; IntegrityError for a damaged line."""
    try:
        return tuple(SampleResult.from_line(json.loads(line)) for line in data.splitlines())
    except (ValueError, TypeError, KeyError) as error:
        raise IntegrityError(f"items.jsonl of an eval report is damaged: {error}") from error
