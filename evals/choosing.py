"""Choosing by likelihood: of several continuations of one prompt, the one the model finds likeliest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..core.errors import AskError
from ..data.sample import Sample
from ..engines import Chat, Continuation, Engine, GenerationResult, Progress, ScoringEngine
from .suites import Suite

_LENGTH: Mapping[str, Callable[[str, Continuation], int]] = {
    "none": lambda text, scored: 1,
    "characters": lambda text, scored: len(text),
    "bytes": lambda text, scored: len(text.encode()),
    "tokens": lambda text, scored: scored.tokens,
}


def choose_by_likelihood(
    suite: Suite, items: Sequence[Sample], chats: Sequence[Chat], engine: Engine, progress: Progress | None
) -> list[GenerationResult]:
    """For each item the choice with the greatest log-likelihood per unit of the suite's length.

    Length is the choice's own, without the prefix before it. Raises AskError for an engine that cannot score.
    """
    if not isinstance(engine, ScoringEngine):
        raise AskError(
            f"suite {suite.name} chooses by likelihood, which {engine.version} cannot give. Set `choose_by: "
            "generation` in the suite, or evaluate the checkpoint."
        )
    choices = [item.choices for item in items]
    scored = engine.loglikelihood(chats, choices, suite.prompt.answer_prefix, progress)
    return [_best(suite, item, found) for item, found in zip(items, scored, strict=True)]


def _best(suite: Suite, item: Sample, scored: Sequence[Continuation]) -> GenerationResult:
    if failed := next((one for one in scored if one.error is not None), None):
        return GenerationResult.refused(failed.error)
    length = _LENGTH[suite.choose_by]
    means = [
        one.logprob / max(1, length(choice, one)) for choice, one in zip(item.choices, scored, strict=True)
    ]
    best = max(range(len(means)), key=means.__getitem__)
    return GenerationResult(item.choices[best], latency_ms=sum(one.latency_ms for one in scored))
