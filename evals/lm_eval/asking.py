"""Puts a built task's requests to an engine: texts to generate, or continuations to find likely."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from ...core.errors import AskError
from ...data.sample import Sample
from ...engines import Chat, Continuation, Engine, GenerationResult, Progress, ScoringEngine
from .task import Asked, LmEvalTask, as_chat, requests_of


def ask_likelihoods(
    task: LmEvalTask, items: Sequence[Sample], engine: Engine, progress: Progress | None
) -> list[GenerationResult]:
    """For each item how likely its continuations are, in the order of its requests.

    The text is the likeliest choice, or the right continuation where greedy generation would begin so. In a
    chat an answer stands where the model's own template puts it. AskError for an engine that cannot score.
    """
    if not isinstance(engine, ScoringEngine):
        raise AskError(
            f"task {task.built.task} asks how likely answers are, which {engine.version} cannot tell. "
            "Evaluate the checkpoint."
        )
    chats: list[Chat] = []
    continuations: list[list[str]] = []
    owners: list[int] = []
    for number, item in enumerate(items):
        for context, some in groupby(requests_of(item), key=lambda asked: asked[0]):
            moved, texts = _as_asked(context, [text for _, text in some])
            chats.append(as_chat(moved))
            continuations.append(texts)
            owners.append(number)
    scored = engine.loglikelihood(chats, continuations, None if task.built.chat else "", progress)
    found: list[list[Continuation]] = [[] for _ in items]
    for owner, each in zip(owners, scored, strict=True):
        found[owner] += each
    return [_answer(task, item, tuple(some)) for item, some in zip(items, found, strict=True)]


def _as_asked(context: Any, texts: list[str]) -> tuple[Any, list[str]]:
    """A context and its continuations; white space between them belongs to the latter, as there."""
    if not isinstance(context, str):
        return context, [text.lstrip() for text in texts]
    plain = context.rstrip()
    return plain, [context[len(plain) :] + text for text in texts]


def _answer(task: LmEvalTask, item: Sample, scored: tuple[Continuation, ...]) -> GenerationResult:
    if failed := next((one for one in scored if one.error is not None), None):
        return GenerationResult.refused(failed.error)
    waited_ms = sum(one.latency_ms for one in scored)
    if task.built.kind == "multiple_choice":
        of_choices = scored[: len(item.choices)]
        best = max(range(len(of_choices)), key=lambda at: of_choices[at].logprob)
        text = item.choices[best]
    else:
        text = (item.answer or "") if scored[0].is_greedy else ""
    return GenerationResult(text, latency_ms=waited_ms, continuations=scored)


def responses(task: LmEvalTask, item: Sample, answer: GenerationResult) -> list[Any] | None:
    """An answer as the worker takes it, one response for each request; None for no answer.

    A baseline's text, which no model found likely, counts as certain where it is a continuation.
    """
    if answer.text is None:
        return None
    if task.built.kind == "generate_until":
        return [answer.text]
    if answer.continuations:
        return [[one.logprob, one.is_greedy] for one in answer.continuations]
    return [_certain(asked, answer.text) for asked in requests_of(item)]


def _certain(asked: Asked, text: str) -> list[Any]:
    is_said = asked[1].strip() == text.strip()
    return [0.0 if is_said or not asked[0] else -1e9, is_said]  # behind nothing all are alike
