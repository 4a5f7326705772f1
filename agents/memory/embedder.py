"""Who gives passages their dense vectors: the encoder fitted on them, or a model behind an endpoint."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from ...core.errors import BackendError
from ...core.files import sha256_json
from ...core.settings.memory import MemoryModelSettings
from ...engines.embeddings import EmbeddingEndpoint
from ...engines.endpoint_client import EndpointClient
from ...engines.vectors import TextEncoder, VectorQuantiser

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH, _CONCURRENCY = 32, 4
_TEXT_CHARS = 4000
_FITTED_BY_ENDPOINT = 400  # texts


class PassageEmbedder:
    """Dense vectors by an endpoint where one is set, else by the encoder; sparse ones by the encoder.

    quantiser: fitted on such dense vectors; None while there are none yet.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        endpoint: MemoryModelSettings | None,
        dimensions: int | None = None,
        quantiser: VectorQuantiser | None = None,
    ) -> None:
        self.encoder, self._endpoint, self.quantiser = encoder, endpoint, quantiser
        self.dimensions = encoder.dimensions if endpoint is None else dimensions

    def dense(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, (n, dimensions); BackendError where the endpoint gives not one for each text."""
        import numpy as np

        if self._endpoint is None:
            return self.encoder.dense(texts)
        settings = self._endpoint
        key = None if settings.key is None else settings.key.resolve()
        client = EndpointClient(
            settings.url, "/embeddings", key, concurrency=_CONCURRENCY, tries=2, timeout_s=settings.timeout_s
        )
        asker = EmbeddingEndpoint(client, settings.model, _BATCH, _CONCURRENCY, self.dimensions)
        with closing(asker) as endpoint:
            found = endpoint.embed([text[:_TEXT_CHARS] or " " for text in texts], lambda texts, vectors: None)
        vectors = [one for one in found if not isinstance(one, str)]
        if len(vectors) < len(texts):
            why = next(one for one in found if isinstance(one, str))
            raise BackendError(
                f"the embedder {settings.model} at {settings.url} gave {len(vectors)} of {len(texts)} "
                f"vectors: {why}. Check memory.embedder, or unset it for the one that needs no server."
            )
        matrix = np.asarray(vectors, np.float32)
        self.dimensions = int(matrix.shape[1])
        return matrix

    def sparse(
        self, texts: Sequence[str], runs: Sequence[str], dense: NDArray[np.float32]
    ) -> list[dict[int, float]]:
        """For each text the weights of its words, the term of its run, and those that tell its vector."""
        meanings = self.quantiser.terms(dense) if self.quantiser is not None else [{} for _ in texts]
        return [
            {**self.encoder.sparse(text), **({run_term(run): 1.0} if run else {}), **meaning}
            for text, run, meaning in zip(texts, runs, meanings, strict=True)
        ]

    def fit_quantiser(self, texts: Sequence[str]) -> VectorQuantiser:
        """Learn to tell dense vectors by terms, from those of some texts; an endpoint is asked for few."""
        some = texts if self._endpoint is None else texts[:: -(-len(texts) // _FITTED_BY_ENDPOINT)]
        self.quantiser = VectorQuantiser.fit(self.dense(some))
        return self.quantiser


def run_term(run: str) -> int:
    """The dimension of a sparse vector that says which run a passage is of."""
    return zlib.crc32(f"run {run}".encode()) & 0x7FFFFFFF


def embedder_name(endpoint: MemoryModelSettings | None) -> str:
    """What tells embedders apart before one is asked: another one, another index."""
    return "offline" if endpoint is None else sha256_json({"url": endpoint.url, "model": endpoint.model})
