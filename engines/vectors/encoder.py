"""Texts as vectors with nothing to download: BM25 weights of their words, and their word pieces by SVD.

Both are fitted on texts of the place they are used in, and saved as safetensors. Everything is told apart by
hashes, so that a text may hold what no text of the fit did.
Sources: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), section 3.4;
Deerwester et al., "Indexing by Latent Semantic Analysis" (1990).
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import IntegrityError
from ...data.embed import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIMENSIONS = 128
_BUCKETS = 1 << 15  # of hashed word pieces
_K1, _B = 1.2, 0.75
_STEM = 5  # letters of a longer word that also count as a term of their own: "refused" finds "refuses"
_READ_CHARS = 4000  # of a text; what stands behind is not compared
_COMMON = 0.25  # a term in more of the texts is left out of a question that has rarer ones
_QUESTION_TERMS = 64
_FORMAT = 1


def terms(text: str) -> Iterator[str]:
    """The words of a text, parts of names_with_underscores too, and the first letters of long ones."""
    for word in words(text[:_READ_CHARS]):
        yield word
        parts = [part for part in word.split("_") if part] if "_" in word else [word]
        if parts != [word]:
            yield from parts
        for part in parts:
            if len(part) > _STEM and part.isalpha():
                yield f"{part[:_STEM]}~"


class TextEncoder:
    """Gives sparse vectors by words and dense ones by pieces of words; what it learned names it (`digest`).

    documents: texts it was fitted on; mean_terms: of one of them; counts: in how many a term stands, by hash.
    weights: (buckets,) inverse document frequencies; axes: (buckets, dimensions), columns orthonormal.
    """

    def __init__(
        self,
        documents: int,
        mean_terms: float,
        counts: dict[int, int],
        weights: NDArray[np.float32],
        axes: NDArray[np.float32],
    ) -> None:
        self.documents, self.mean_terms, self._counts = documents, mean_terms, counts
        self._weights, self._axes = weights, axes

    @classmethod
    def fit(cls, texts: Sequence[str], seed: int = 0) -> TextEncoder:
        """Fit on texts, at least one; the same texts in the same order give the same encoder."""
        import numpy as np
        from sklearn.decomposition import TruncatedSVD

        counts, lengths = Counter[int](), 0
        for text in texts:
            found = [_hashed(term) for term in terms(text)]
            lengths += len(found)
            counts.update(set(found))
        pieces = _pieces(texts)
        frequency = np.bincount(pieces.indices, minlength=_BUCKETS)
        weights = np.log((1 + len(texts)) / (1 + frequency)).astype(np.float32) + np.float32(1)
        matrix = _weighted(pieces, weights)
        ranks = max(1, min(DIMENSIONS, min(matrix.shape) - 1, len(texts)))
        svd = TruncatedSVD(ranks, n_iter=2, random_state=seed)
        with np.errstate(invalid="ignore"):  # what share of no variance at all it explains
            svd.fit(matrix)
        axes = np.zeros((_BUCKETS, DIMENSIONS), np.float32)
        axes[:, :ranks] = svd.components_.T
        return cls(len(texts), max(1.0, lengths / max(1, len(texts))), dict(counts), weights, axes)

    @property
    def dimensions(self) -> int:
        """Of the dense vectors."""
        return DIMENSIONS

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything it learned: two encoders of one digest give the same vectors."""
        return hashlib.sha256(self._bytes()).hexdigest()

    def sparse(self, text: str) -> dict[int, float]:
        """A text's terms with their BM25 weights, without the inverse document frequency."""
        found = Counter(_hashed(term) for term in terms(text))
        norm = _K1 * (1 - _B + _B * sum(found.values()) / self.mean_terms)
        return {term: n * (_K1 + 1) / (n + norm) for term, n in found.items()}

    def sparse_question(self, text: str) -> dict[int, float]:
        """A question's terms with their inverse document frequencies: its product with a text is BM25.

        The rarest 64; terms of more than a quarter of the texts only where there are no others.
        """
        idf: dict[int, float] = {}
        common: dict[int, float] = {}
        for term in dict.fromkeys(_hashed(term) for term in terms(text)):
            n = self._counts.get(term, 0)
            weight = math.log(1 + (self.documents - n + 0.5) / (n + 0.5))
            (common if n > _COMMON * self.documents and self.documents > 20 else idf)[term] = weight
        chosen = sorted((idf or common).items(), key=lambda one: -one[1])[:_QUESTION_TERMS]
        return dict(chosen)

    def dense(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, float32 (n, dimensions); a text without one known piece is the zero vector."""
        import numpy as np

        matrix = _weighted(_pieces(texts), self._weights)
        vectors = np.asarray(matrix @ self._axes, np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)

    def save(self, path: Path) -> None:
        """Write it to a file, as safetensors."""
        path.write_bytes(self._bytes())

    @classmethod
    def load(cls, path: Path) -> TextEncoder:
        """Read it from a file; IntegrityError for one that holds none."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            data = path.read_bytes()
            found = load(data)
            about = json.loads(bytes(found["about"]))
            if about["format"] != _FORMAT or found["axes"].shape != (_BUCKETS, DIMENSIONS):
                raise ValueError("another format")
            pairs = zip(found["terms"].tolist(), found["counts"].tolist(), strict=True)
            return cls(about["documents"], about["mean_terms"], dict(pairs), found["weights"], found["axes"])
        except (OSError, SafetensorError, LookupError, ValueError, TypeError) as error:
            raise IntegrityError(
                f"{path} holds no text encoder: {error}. Delete it; it is made anew."
            ) from error

    def _bytes(self) -> bytes:
        import numpy as np
        from safetensors.numpy import save

        known = sorted(self._counts.items())
        about = {"format": _FORMAT, "documents": self.documents, "mean_terms": self.mean_terms}
        return bytes(
            save(
                {
                    "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
                    "terms": np.array([term for term, _ in known], np.int64),
                    "counts": np.array([n for _, n in known], np.int64),
                    "weights": self._weights,
                    "axes": self._axes,
                }
            )
        )


def _hashed(term: str) -> int:
    """A term as a dimension of a sparse vector; 31 bits, and the same in every process."""
    return zlib.crc32(term.encode("utf-8", "replace")) & 0x7FFFFFFF


def _pieces(texts: Sequence[str]) -> Any:
    """How often each hashed 3- to 5-gram within words stands in each text, (n, buckets) sparse."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hasher = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), n_features=_BUCKETS, norm=None, alternate_sign=False,
        dtype="float32",
    )  # fmt: skip
    return hasher.transform([text[:_READ_CHARS].encode("utf-8", "replace").decode() for text in texts])


def _weighted(pieces: Any, weights: NDArray[np.float32]) -> Any:
    """TF-IDF with sublinear counts, each row of length 1."""
    import numpy as np
    from sklearn.preprocessing import normalize

    pieces = pieces.copy()
    pieces.data = (1 + np.log(pieces.data)) * weights[pieces.indices]
    return normalize(pieces, copy=False)
