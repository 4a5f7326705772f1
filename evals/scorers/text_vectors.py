"""Vectors of texts, by an embedder behind an endpoint, kept so that no text is sent twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import BackendError
from ...core.files import sha256_json
from ...core.secrets import SecretName
from ...engines.embeddings import Embedded, EmbeddingEndpoint, Keep, Vector
from ...engines.endpoint_client import EndpointClient
from ..answer_cache import AnswerCache, NoAnswers
from ..embedder_settings import EmbedderSettings
from .base import ServerAccess

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROUTE = "/embeddings"


class TextVectors:
    """Gives the vector of a text, scaled to length 1: from before, or else from the endpoint."""

    def __init__(self, settings: EmbedderSettings, access: ServerAccess) -> None:
        self.settings, self._access = settings, access
        self._cache = NoAnswers() if access.cache is None else AnswerCache(access.cache)
        self.dimensions: int | None = None  # of the first vector
        self.reused = 0
        self.failure = ""  # why a request failed for good, but for texts that were refused

    def of(self, texts: Iterable[str]) -> dict[str, Embedded]:
        """The vector of each text, or why it has none."""
        new = list(dict.fromkeys(texts))
        keys = {text: sha256_json({"embedder": self.settings.document(), "text": text}) for text in new}
        kept = self._cache.get(list(keys.values()))
        found: dict[str, Embedded] = {
            text: kept[key] for text, key in keys.items() if _is_vector(kept.get(key))
        }
        self.reused += len(found)
        self._learn_dimensions(found)
        if asked := [text for text in new if text not in found]:
            with closing(self._endpoint()) as endpoint:
                found.update(zip(asked, endpoint.embed(asked, self._keeper(keys)), strict=True))
                self.failure = self.failure or endpoint.first_failure
            self._learn_dimensions(found)
        return found

    def _learn_dimensions(self, found: Mapping[str, Embedded]) -> None:
        if self.dimensions is None:
            self.dimensions = next((len(one) for one in found.values() if not isinstance(one, str)), None)

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
        return EmbeddingEndpoint(
            client, settings.model, settings.batch, settings.concurrency, self.dimensions
        )


def embed_function(
    settings: EmbedderSettings, cache: Path, secret: Callable[[SecretName], str]
) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """A function that gives vectors of texts, (n, dimensions) of length 1; BackendError without one."""
    vectors = TextVectors(settings, ServerAccess(cache, secret))

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        found = vectors.of(texts)
        refused = next((one for one in found.values() if isinstance(one, str)), None)
        if refused is not None:
            raise BackendError(f"the embedder {settings.model} gave a row no vector: {refused}")
        return np.asarray([found[text] for text in texts], np.float32)

    return embed


def _is_vector(kept: object) -> bool:
    return isinstance(kept, list) and bool(kept) and all(isinstance(one, float | int) for one in kept)
