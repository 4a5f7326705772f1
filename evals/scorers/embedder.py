"""How near an embedder behind an OpenAI-compatible endpoint finds answers to right ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

from ...core.files import sha256_json
from ...data.sample import Sample
from ...engines.embeddings import Embedded, EmbeddingEndpoint, Keep, Vector
from ...engines.endpoint_client import EndpointClient
from ..answer_cache import AnswerCache, NoAnswers
from .base import Score, ServerAccess, right_answers
from .embedder_settings import EmbedderSettings

ROUTE = "/embeddings"


class EmbedderSimilarity:
    """Cosine of an answer with the nearest right one, in the vectors of an endpoint; below 0 it is 0.

    Vectors are kept by embedder and text. What has none is its answer's fault, and no score.
    """

    def __init__(self, settings: EmbedderSettings, access: ServerAccess) -> None:
        self.settings, self._access = settings, access
        self._cache = NoAnswers() if access.cache is None else AnswerCache(access.cache)
        self._known: dict[str, Embedded] = {}
        self._reused = 0

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
            "reused": self._reused,
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
        """Get the vectors of texts that are not known: from before, then from the endpoint."""
        new = [text for text in dict.fromkeys(texts) if isinstance(self._known.get(text, ""), str)]
        keys = {text: sha256_json({"embedder": self.settings.document(), "text": text}) for text in new}
        kept = self._cache.get(list(keys.values()))
        found = {text: kept[key] for text, key in keys.items() if _is_vector(kept.get(key))}
        self._reused += len(found)
        self._known |= found
        if asked := [text for text in new if text not in found]:
            with closing(self._endpoint()) as endpoint:
                self._known |= zip(asked, endpoint.embed(asked, self._keeper(keys)), strict=True)

    def _keeper(self, keys: Mapping[str, str]) -> Keep:
        def keep(texts: Sequence[str], vectors: Sequence[Vector]) -> None:
            self._cache.put({keys[text]: vector for text, vector in zip(texts, vectors, strict=True)})

        return keep

    def _endpoint(self) -> EmbeddingEndpoint:
        settings = self.settings
        client = EndpointClient(
            settings.url,
            ROUTE,
            None if settings.key is None else self._access.secret(settings.key),
            concurrency=settings.concurrency,
            tries=settings.retries + 1,
            timeout_s=settings.timeout_s,
            requests_per_minute=settings.requests_per_minute,
        )
        known = next((len(one) for one in self._known.values() if not isinstance(one, str)), None)
        return EmbeddingEndpoint(client, settings.model, settings.batch, settings.concurrency, known)


def _is_vector(kept: object) -> bool:
    return isinstance(kept, list) and bool(kept) and all(isinstance(one, float | int) for one in kept)


def _digest_of(vectors: Mapping[str, Vector]) -> str:
    lines = (json.dumps([text, vectors[text]]) for text in sorted(vectors))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
