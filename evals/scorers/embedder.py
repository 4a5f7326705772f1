"""How near an embedder behind an OpenAI-compatible endpoint finds answers to right ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...data.sample import Sample
from ...engines.embeddings import Embedded, Vector
from ..embedder_settings import EmbedderSettings
from .base import Score, ServerAccess, right_answers
from .text_vectors import TextVectors


class EmbedderSimilarity:
    """Cosine of an answer with the nearest right one, in the vectors of an endpoint; below 0 it is 0.

    Vectors are kept by embedder and text. What has none is its answer's fault, and no score.
    """

    def __init__(self, settings: EmbedderSettings, access: ServerAccess) -> None:
        self.settings = settings
        self._vectors = TextVectors(settings, access)
        self._known: dict[str, Embedded] = {}

    def score_all(self, pairs: Sequence[tuple[Sample, str]]) -> list[Score]:
        """A score of each answer, in their order."""
        self._embed(text for sample, answer in pairs for text in (answer, *right_answers(sample)) if text)
        return [self._score(sample, answer) for sample, answer in pairs]

    def summary(self) -> dict[str, Any]:
        """What a report says of the embedder: which one, and the digest of every vector that was used."""
        vectors = {text: one for text, one in self._known.items() if not isinstance(one, str)}
        failures = [one for one in self._known.values() if isinstance(one, str)]
        return {
            **self.settings.document(),
            "dimensions": next((len(one) for one in vectors.values()), None),
            "texts": len(self._known),
            "reused": self._vectors.reused,
            "failed": len(failures),
            "failure": failures[0] if failures else "",
            "digest": _digest_of(vectors),
        }

    def _score(self, sample: Sample, answer: str) -> Score:
        if not answer:
            return Score(0.0)
        mine, others = self._known[answer], [self._known[one] for one in right_answers(sample) if one]
        if isinstance(mine, str):
            return Score(None, mine)
        vectors = [one for one in others if not isinstance(one, str)]
        if len(vectors) < len(others):
            return Score(None, next(one for one in others if isinstance(one, str)))
        if any(len(one) != len(mine) for one in vectors):
            return Score(None, "embeddings kept from before have other dimensions")
        nearest = max((sum(a * b for a, b in zip(mine, one, strict=True)) for one in vectors), default=0.0)
        return Score(min(1.0, max(0.0, nearest)))

    def _embed(self, texts: Iterable[str]) -> None:
        """Get the vectors of texts that are not known."""
        self._known |= self._vectors.of(text for text in texts if isinstance(self._known.get(text, ""), str))


def _digest_of(vectors: Mapping[str, Vector]) -> str:
    lines = (json.dumps([text, vectors[text]]) for text in sorted(vectors))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
