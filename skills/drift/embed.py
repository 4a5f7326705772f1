"""Texts as vectors, with nothing to download: TF-IDF of words and word pairs, reduced by SVD."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

DIMENSIONS = 128
_POWER_ITERATIONS = 2  # 5, the library's default, takes twice the time and gave no more power
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text, lower case."""
    return _WORD.findall(text.lower())


class TextEmbedder:
    """An embedding fitted on the reference texts, so that a distance means something in their language."""

    def __init__(self, texts: Sequence[str], dimensions: int = DIMENSIONS, seed: int = 0) -> None:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._tfidf = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", sublinear_tf=True)
        matrix = self._tfidf.fit_transform(texts)
        dimensions = max(1, min(dimensions, min(matrix.shape) - 1))
        self._svd = TruncatedSVD(dimensions, n_iter=_POWER_ITERATIONS, random_state=seed).fit(matrix)

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 (n, d); a text without one known word is the zero vector."""
        vectors = self._svd.transform(self._tfidf.transform(texts))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        units: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
        return units
