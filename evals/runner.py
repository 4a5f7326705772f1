"""Runs a suite on a target: every item asked once, scored, and put into its slices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from ..core.errors import BackendError, IntegrityError
from ..data.sample import Sample, Task, asked_of
from ..engines import Engine, GenerationOptions, GenerationResult, Progress
from .choosing import choose_by_likelihood
from .judges.summary import judge_summaries
from .lm_eval.asking import ask_likelihoods
from .lm_eval.scoring import totals_of
from .scorers import Score, Scorer, right_answers
from .scorers.embedder import EmbedderSimilarity
from .scorers.guard import BLOCKED
from .suites import SliceRule, Suite, in_slice
from .turns import ask_own_turns, place_of

_SHARES = {"exact_match": True, "known_label": True}  # the scorers of reports that name none


@dataclass(frozen=True)
class SampleResult:
    """One item: what was expected, what came, its scores by scorer, and the slices it counts in.

    An answer that a scorer could not score has no entry in `scores`: it is missing, not zero. When something
    went wrong with it, `faults` says what, by scorer. details: what else a scorer says, as a judge's reason.
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
    faults: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def score(self, metric: str) -> float | None:
        """Its score by a metric, 0 to 1; None when it has none."""
        return self.scores.get(metric)

    def is_correct(self, metric: str) -> bool:
        """Whether it has the full score of a metric."""
        return self.scores.get(metric, 0.0) >= 1

    def line(self) -> dict[str, Any]:
        """The item as its line in items.jsonl."""
        line = {**asdict(self), "slices": dict.fromkeys(self.slices, True)}
        return {name: value for name, value in line.items() if name not in ("faults", "details") or value}

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> SampleResult:
        """The item of a line."""
        kept = {**line, "slices": tuple(line["slices"])}
        if "ok" in kept:  # a report of version 0.1
            kept["scores"] = {"exact_match": float(kept.pop("ok")), "known_label": float(kept.pop("known"))}
        return cls(**kept)


@dataclass(frozen=True)
class EvalResult:
    """One model on one suite: its items by id, and every slice, with or without items.

    scorers: each scorer's name, and whether it is binary; the first is what the suite is judged by. judges:
    of each that asks a judge, what it is and how it did.
    variants: the items again as some alteration changed them; they count nowhere else.
    embedders: of each scorer that asks one, which it is, and the digest of its vectors.
    paraphrases: how many items have a usable one, why the others have none, and who wrote them.
    totals: figures of the whole that are no mean of the items', by lm-evaluation-harness.
    """

    model: str
    suite: str
    suite_digest: str
    slices: tuple[str, ...]
    items: tuple[SampleResult, ...]
    leaked: int | None = None  # items that are also in the model's training rows; None when those are unknown
    task: Task = "classify"
    scorers: Mapping[str, bool] = field(default_factory=lambda: dict(_SHARES))
    judges: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    variants: Mapping[str, tuple[SampleResult, ...]] = field(default_factory=dict)
    totals: Mapping[str, float] = field(default_factory=dict)
    embedders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paraphrases: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        """The scorer that the suite is judged by."""
        return next(iter(self.scorers))

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
    if suite.turns == "own":  # of a chat that is cut its first turns are asked
        items = sorted(items, key=lambda item: (_drawn(place_of(item)[0]), place_of(item)[1]))[:limit]
    elif limit is not None and limit < len(items):
        items = sorted(items, key=lambda item: _drawn(item.id))[:limit]
    return sorted(items, key=lambda item: item.id)


def _drawn(name: str) -> bytes:
    """What orders items at random, the same on every run."""
    return hashlib.sha256(name.encode()).digest()


def run_suite(
    suite: Suite,
    engine: Engine,
    model: str,
    *,
    slices: Mapping[str, SliceRule] = MappingProxyType({}),
    limit: int | None = None,
    max_new_tokens: int | None = None,
    scorers: Sequence[Scorer] | None = None,
    progress: Progress | None = None,
    may_fail: bool = False,
) -> EvalResult:
    """Ask an engine every chosen item, by greedy generation or by likelihood as the suite says, and score.

    limit: items asked at the most; None: all. max_new_tokens: of one answer; None: as the suite says.
    scorers: the suite's own, made; None makes them, which trusts no file. Raises BackendError when no item
    got an answer, unless it `may_fail`, or none a score.
    """
    scorers = suite.load_scorers() if scorers is None else scorers
    items = choose_items(suite, limit)
    answers = _ask(suite, items, engine, max_new_tokens or suite.longest_answer, progress)
    if len(answers) != len(items):
        raise BackendError(f"the engine returned {len(answers)} answers to {len(items)} prompts.")
    failed = [answer.error for answer in answers if answer.error is not None]
    if items and len(failed) == len(items) and not may_fail:
        raise BackendError(f"the engine answered none of {len(items)} prompts; the first error: {failed[0]}")
    if any(spec.name == "guard_decision" for spec in suite.specs):
        answers = [_as_decision(answer) for answer in answers]
    results = tuple(score(scorers, items, answers, slices))
    measured = EvalResult(
        model,
        suite.name,
        suite.digest,
        tuple(slices),
        results,
        task=suite.task,
        scorers={one.name: one.is_binary for one in scorers},
        totals=totals_of(scorers, items, answers),
    )
    _check_scored(measured)
    return measured


def _ask(
    suite: Suite, items: Sequence[Sample], engine: Engine, max_new_tokens: int, progress: Progress | None
) -> list[GenerationResult]:
    """An answer for each item, in their order."""
    if suite.lm_eval is not None and suite.by_likelihood:
        return ask_likelihoods(suite.lm_eval, items, engine, progress)
    chats = [suite.prompt.chat(item) for item in items]
    if suite.by_likelihood:
        return choose_by_likelihood(suite, items, chats, engine, progress)
    options = GenerationOptions(max_new_tokens, stop=suite.stop)
    if suite.turns == "own":
        return ask_own_turns(engine, items, chats, options, progress)
    return engine.generate(chats, options, progress)


def _as_decision(answer: GenerationResult) -> GenerationResult:
    """An answer that says so when it is what an endpoint's rails say instead of the model's."""
    if answer.finish_reason != "content_filter":
        return answer
    return answer._replace(text=f"{BLOCKED} {answer.text or ''}".strip(), error=None)


def score(
    scorers: Sequence[Scorer],
    items: Sequence[Sample],
    answers: Iterable[GenerationResult],
    slices: Mapping[str, SliceRule],
) -> list[SampleResult]:
    """Each item beside its answer, without the white space around it."""
    given = list(zip(items, answers, strict=True))
    pairs = [(item, None if answer.text is None else answer.text.strip()) for item, answer in given]
    found = {one.name: one.score_results(given) for one in scorers}
    results = []
    for number, (item, answer) in enumerate(given):
        own = {name: scores[number] for name, scores in found.items()}
        result = SampleResult(
            id=item.id,
            text=asked_of(item),
            expected=next(iter(right_answers(item)), ""),
            got=pairs[number][1],
            scores={name: one.value for name, one in own.items() if one.value is not None},
            slices=tuple(sorted(name for name, rule in slices.items() if in_slice(item, rule))),
            group=item.group,
            latency_ms=None if answer.error else round(answer.latency_ms, 3),
            error=None if answer.finish_reason == "refused" else answer.error,
            finish=answer.finish_reason,
            faults={name: one.fault for name, one in own.items() if one.fault is not None},
            details={name: one.detail for name, one in own.items() if one.detail is not None},
        )
        results.append(result)
    return results


def judges_of(
    scorers: Sequence[Scorer], items: Sequence[Sample], results: Sequence[SampleResult]
) -> dict[str, dict[str, Any]]:
    """What there is to say of the judges among the scorers; their gold answers are asked here."""
    scores = {
        one.name: [
            Score(item.scores.get(one.name), item.faults.get(one.name), item.details.get(one.name))
            for item in results
        ]
        for one in scorers
    }
    return judge_summaries(scorers, items, scores)


def embedders_of(scorers: Sequence[Scorer]) -> dict[str, dict[str, Any]]:
    """What there is to say of the embedders that scorers asked, so far."""
    return {
        one.name: one.function.summary() for one in scorers if isinstance(one.function, EmbedderSimilarity)
    }


def _check_scored(measured: EvalResult) -> None:
    """BackendError when what the suite is judged by scored no item at all."""
    metric = measured.metric
    if measured.items and not any(metric in item.scores for item in measured.items):
        faults = [item.faults[metric] for item in measured.items if metric in item.faults]
        why = f"the first fault: {faults[0]}" if faults else "the samples lack what it needs"
        raise BackendError(
            f"scorer {metric}, which suite {measured.suite} is judged by, scored none of "
            f"{len(measured.items)} answers; {why}"
        )


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
