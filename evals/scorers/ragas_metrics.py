"""Metrics of ragas: some without a model, the others by a judge that is asked as ours are.

ragas is imported here alone, its telemetry off. It believes what a judge says: a verdict of 7, fewer verdicts
than statements, no statements at all. Here its judge replies through our client, which reads strictly,
retries, and keeps replies by judge and prompt (ragas' own cache leaves the judge out of its key); scores are
held to 0..1, and NaN is a fault.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from ...core.errors import NeedsError, OpswrightError
from ...core.install import install_hint
from ...data.sample import Sample, asked_of
from ...engines import user_chat
from ..judges.base import Judge, needed_judge
from ..judges.client import JudgeClient, JudgeConnection, Unreadable
from ..judges.prompt import JudgePrompt
from .base import Score, ScoreFunction, ScoringContext, right_answers

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ...data.embed import TextEmbedder

Arguments = Mapping[str, Any]

_BINARY = ("verdict", "attributed", "noncommittal")  # 0 or 1, which ragas does not check
_STATEMENTS = ("statements", "claims")


def ragas_string_similarity(
    context: ScoringContext, distance: Literal["levenshtein", "jaro", "jaro_winkler"] = "levenshtein"
) -> ScoreFunction:
    """Ragas NonLLMStringSimilarity: 1 less the distance from the best right answer."""

    def make() -> ScoreFunction:
        metrics = _ragas()
        metric = metrics.NonLLMStringSimilarity(distance_measure=metrics.DistanceMeasure(distance))
        return lambda sample, answer: max(
            _run(metric.ascore(reference=right, response=answer)) for right in right_answers(sample)
        )

    return _later(make)


def ragas_quoted_spans(context: ScoringContext) -> ScoreFunction:
    """Ragas QuotedSpansAlignment: the share of what an answer quotes that stands in the passages."""

    def make() -> ScoreFunction:
        metric = _ragas().QuotedSpansAlignment()
        return lambda sample, answer: _run(
            metric.ascore(response=answer, retrieved_contexts=list(sample.contexts))
        )

    return _later(make)


def ragas_context_match_precision(context: ScoringContext, threshold: float = 0.5) -> ScoreFunction:
    """Ragas NonLLMContextPrecision: whether passages like the reference ones come first; no answer counts."""
    return _later(
        lambda: _context_metric("NonLLMContextPrecisionWithReference", threshold, "distance_measure")
    )


def ragas_context_match_recall(context: ScoringContext, threshold: float = 0.5) -> ScoreFunction:
    """Ragas NonLLMContextRecall: how many reference passages have one like them; no answer counts."""
    return _later(lambda: _context_metric("NonLLMContextRecall", threshold, "_distance_measure"))


def _context_metric(name: str, threshold: float, distance: str) -> ScoreFunction:
    """A metric of passages, told how alike two are by its field `distance`.

    ragas' public way notes each use in a file of the person's home, tracked or not; this one notes nothing.
    """
    alike = _ragas().NonLLMStringSimilarity()
    with _quiet():
        from ragas import metrics as legacy
        from ragas.dataset_schema import SingleTurnSample

        kind = getattr(legacy, name)

    class Alike:
        async def single_turn_ascore(self, pair: Any, callbacks: Any) -> float:
            return float((await alike.ascore(reference=pair.reference, response=pair.response)).value)

    metric = kind(**{distance: Alike(), "threshold": threshold})

    def score(sample: Sample, answer: str) -> float | None:
        wanted = sample.metadata.get("reference_contexts")
        if wanted is None:
            return None
        if not isinstance(wanted, list) or not wanted or not all(isinstance(one, str) for one in wanted):
            raise ValueError("metadata.reference_contexts is a list of texts, at least one")
        row = SingleTurnSample(retrieved_contexts=list(sample.contexts), reference_contexts=wanted)
        return _run(metric._single_turn_ascore(row, []))

    return score


def ragas_faithfulness(context: ScoringContext) -> Judge:
    """Ragas Faithfulness: the share of an answer's statements that its passages bear out, by a judge."""
    return _judged(context, "Faithfulness")


def ragas_answer_relevancy(context: ScoringContext) -> Judge:
    """Ragas AnswerRelevancy: how near the question a judge makes of the answer is to the one asked."""
    return _judged(context, "AnswerRelevancy")


def ragas_context_precision(context: ScoringContext) -> Judge:
    """Ragas ContextPrecision: whether the passages that help come first, by a judge; no answer counts."""
    return _judged(context, "ContextPrecision")


def ragas_context_recall(context: ScoringContext) -> Judge:
    """Ragas ContextRecall: how much of the right answer the passages hold, by a judge; no answer counts."""
    return _judged(context, "ContextRecall")


def ragas_factual_correctness(
    context: ScoringContext, mode: Literal["f1", "precision", "recall"] = "f1"
) -> Judge:
    """Ragas FactualCorrectness: the claims that answer and right answer share, by a judge."""
    return _judged(context, "FactualCorrectness", mode=mode)


def _question(sample: Sample) -> str:
    """The question that ragas is told: what the user said last."""
    return sample.question or asked_of(sample)


def _asked(sample: Sample, answer: str) -> Arguments | None:
    return {"user_input": _question(sample), "response": answer}


def _with_passages(sample: Sample, answer: str) -> Arguments | None:
    if not sample.contexts:
        return None
    return {
        "user_input": _question(sample),
        "response": answer,
        "retrieved_contexts": list(sample.contexts),
    }


def _passages_and_right(sample: Sample, answer: str) -> Arguments | None:
    right = right_answers(sample)
    if not sample.contexts or not right:
        return None
    contexts = list(sample.contexts)
    return {"user_input": _question(sample), "reference": right[0], "retrieved_contexts": contexts}


def _and_right(sample: Sample, answer: str) -> Arguments | None:
    right = right_answers(sample)
    return {"response": answer, "reference": right[0]} if right else None


_ARGUMENTS: Mapping[str, Callable[[Sample, str], Arguments | None]] = {
    "Faithfulness": _with_passages,
    "AnswerRelevancy": _asked,
    "ContextPrecision": _passages_and_right,
    "ContextRecall": _passages_and_right,
    "FactualCorrectness": _and_right,
}


def _judged(context: ScoringContext, name: str, **options: Any) -> Judge:
    label = f"ragas {_version()} {name}"
    said = f"{label} {sorted(options.items())}"
    prompt = JudgePrompt(label, said)  # ragas' own prompts, which its version decides
    return _RagasJudge(context, name, prompt, options)


class _RagasJudge(Judge):
    """A metric of ragas whose judge is ours. The answers of one batch are scored side by side."""

    def __init__(
        self, context: ScoringContext, name: str, prompt: JudgePrompt, options: Mapping[str, Any]
    ) -> None:
        settings = needed_judge(context, f"ragas {name}")
        super().__init__(settings, prompt, (0.0, 1.0), context.access)
        self._name, self._options, self._samples = name, options, context.samples

    def score_all(self, pairs: Sequence[tuple[Sample, str]]) -> list[Score]:
        embedder = _embedder(self._samples) if self._name == "AnswerRelevancy" else None
        tell, done = self.access.progress, 0
        with (
            closing(JudgeConnection(self.settings, self.access)) as connection,
            ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="ragas") as pool,
        ):
            asked = [pool.submit(self._one, connection, embedder, *pair) for pair in pairs]
            scores = []
            try:
                for future in asked:
                    scores.append(future.result())
                    done += 1
                    if tell is not None:
                        tell(done, len(pairs))
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return scores

    def _one(
        self, connection: JudgeConnection, embedder: TextEmbedder | None, sample: Sample, answer: str
    ) -> Score:
        arguments = _ARGUMENTS[self._name](sample, answer)
        if arguments is None:
            return Score(None)
        replies = _JudgeReplies(connection, self.prompt.digest)
        try:
            value = _run(self._metric(replies, embedder).ascore(**arguments))
        except OpswrightError:  # a key that is not there
            raise
        except Exception as error:  # whatever ragas makes of a reply
            fault = str(error) if isinstance(error, Unreadable) else f"{type(error).__name__}: {error}"
            return Score(None, fault[:200], {"tokens": replies.tokens})
        if value != value:
            return Score(None, "NaN: ragas could not score the answer", {"tokens": replies.tokens})
        return Score(value, detail={"tokens": replies.tokens})

    def _metric(self, replies: _JudgeReplies, embedder: TextEmbedder | None) -> Any:
        given: dict[str, Any] = {"llm": _llm(replies), **self._options}
        if embedder is not None:
            given |= {"embeddings": _embeddings(embedder), "strictness": 1}  # greedy: more are the same
        return getattr(_ragas(), self._name)(**given)


class _JudgeReplies:
    """What a judge replies to the prompts of one metric on one answer, as the models that ragas asks for."""

    def __init__(self, connection: JudgeConnection, digest: str) -> None:
        self._connection, self._digest = connection, digest
        self._stated: int | None = None  # statements that wait for a verdict
        self.tokens = 0

    def reply(self, prompt: str, model: type[BaseModel]) -> BaseModel:
        """One reply; Unreadable where it is not what ragas asked for, or the judge did not reply."""
        client = JudgeClient(self._connection, lambda found: self._read(found, model), self._digest)
        (judgement,) = client.ask([user_chat(prompt)])
        self.tokens += judgement.tokens
        if judgement.verdict is None:
            raise Unreadable(judgement.failure)
        found = judgement.verdict
        listed = next((getattr(found, name) for name in _STATEMENTS if hasattr(found, name)), None)
        self._stated = len(listed) if listed and isinstance(listed[0], str) else None
        return found

    def _read(self, reply: Mapping[str, Any], model: type[BaseModel]) -> BaseModel:
        from pydantic import ValidationError

        try:
            found = model.model_validate(reply, strict=True)
        except ValidationError as error:
            raise Unreadable(
                f"other fields: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}"
            ) from error
        _check_verdicts(found.model_dump())
        verdicts = reply.get("statements")
        if self._stated is not None and isinstance(verdicts, list) and len(verdicts) != self._stated:
            raise Unreadable(f"lost verdicts: {len(verdicts)} on {self._stated} statements")
        return found


def _check_verdicts(value: Any) -> None:
    """Unreadable for a verdict that is not 0 or 1, and for a list of nothing."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _BINARY and inner not in (0, 1):
                raise Unreadable(f"off the scale: {name} {str(inner)[:20]}, expected 0 or 1")
            _check_verdicts(inner)
    elif isinstance(value, list):
        if not value:
            raise Unreadable("empty list: the judge found nothing to judge")
        for inner in value:
            _check_verdicts(inner)


def _llm(replies: _JudgeReplies) -> Any:
    """The judge as ragas wants one."""
    from ragas.llms.base import InstructorBaseRagasLLM

    class OurJudge(InstructorBaseRagasLLM):  # type: ignore[misc]  # the package has no types
        def generate(self, prompt: str, response_model: type[BaseModel]) -> BaseModel:
            return replies.reply(prompt, response_model)

        async def agenerate(self, prompt: str, response_model: type[BaseModel]) -> BaseModel:
            return replies.reply(prompt, response_model)

    return OurJudge()


def _embedder(samples: Sequence[Sample]) -> TextEmbedder:
    """An offline embedding fitted on what the suite says, so that it does not depend on the answers."""
    from ...data.embed import TextEmbedder

    return TextEmbedder([text for one in samples for text in (asked_of(one), *right_answers(one))])


def _embeddings(embedder: TextEmbedder) -> Any:
    """The embedder as ragas wants one."""
    from ragas.embeddings.base import BaseRagasEmbedding

    class Offline(BaseRagasEmbedding):  # type: ignore[misc]  # the package has no types
        def embed_text(self, text: str, **ignored: Any) -> list[float]:
            return [float(one) for one in embedder([text])[0]]

        async def aembed_text(self, text: str, **ignored: Any) -> list[float]:
            return self.embed_text(text)

    return Offline()


def _run(made: Any) -> float:
    """What a metric's coroutine gives, as a number."""
    found = asyncio.run(made)
    return float(getattr(found, "value", found))


def _later(make: Callable[[], ScoreFunction]) -> ScoreFunction:
    """A function that is made when it first scores: a look at a suite does not wait for ragas' import."""
    _version()
    made = cache(make)
    return lambda sample, answer: made()(sample, answer)


def _version() -> str:
    """That of ragas; NeedsError without the package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ragas")
    except PackageNotFoundError as error:
        raise NeedsError(f"this scorer needs ragas. Install: {install_hint('ragas')}") from error


@cache
def _ragas() -> Any:
    """Ragas' metrics; NeedsError without the package."""
    from ...core.settings import NO_TELEMETRY

    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
    try:
        with _quiet():
            from ragas.metrics import collections
    except ImportError as error:
        raise NeedsError(f"ragas metrics need ragas ({error}). Install: {install_hint('ragas')}") from error
    return collections


def _quiet() -> warnings.catch_warnings[None]:
    """Ragas warns of its own and others' deprecations when it is imported."""
    return warnings.catch_warnings(action="ignore")
