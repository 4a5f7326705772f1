"""How near an answer is to a right one in an embedding that needs no download."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ...core.errors import AskError
from ...data.sample import Sample, asked_of
from .base import BatchFunction, ScoreFunction, ScoringContext, right_answers
from .embedder import EmbedderSimilarity

if TYPE_CHECKING:
    from ...data.embed import TextEmbedder


def embedding_similarity(context: ScoringContext) -> ScoreFunction | BatchFunction:
    """Cosine with the nearest right answer: by the suite's embedder, else in an embedding of its own texts.

    That is TF-IDF of word pieces and SVD, and needs no download. It knows which pieces of words go together
    in the suite, no more: it sees no synonym the suite does not show, and no negation.
    """
    if context.embedder is not None:
        return EmbedderSimilarity(context.embedder, context.access)
    texts = tuple(
        text for sample in context.samples for text in (asked_of(sample), *right_answers(sample)) if text
    )

    @cache
    def embedder() -> TextEmbedder:
        from ...data.embed import TextEmbedder

        if len(set(texts)) < 2:
            raise AskError("embedding_similarity is fitted on the suite's texts, and there are not two.")
        return TextEmbedder(texts)

    def score(sample: Sample, answer: str) -> float | None:
        vectors = embedder()([answer, *right_answers(sample)])
        return min(1.0, max(0.0, float((vectors[1:] @ vectors[0]).max())))

    return score
