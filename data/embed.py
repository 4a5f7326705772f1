"""Texts as vectors, with nothing to download: TF-IDF of pieces of words, reduced by SVD."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .scripts import UNSPACED

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

Vectors = npt.NDArray[np.float32]

DIMENSIONS = 128
_POWER_ITERATIONS = 2  # 5, the library's default, takes twice the time and gave no more power


def words(text: str) -> list[str]:
    """The words of a text, lower case; single characters in scripts that put no space between words."""
    return _word().findall(text.lower())


@cache
def _word() -> re.Pattern[str]:
    """A word: letters and digits with their combining marks, which a plain word class leaves out."""
    marks = "".join(
        re.escape(chr(code))
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)).startswith("M")
    )
    return re.compile(f"[{UNSPACED}]|(?:(?![{UNSPACED}])[\\w{marks}])+")


def pieces() -> TfidfVectorizer:
    """TF-IDF over character 3- to 5-grams within words: a typo or another ending is near, in any script."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, dtype=np.float32)


class TextEmbedder:
    """An embedding fitted on the reference texts, so that a distance means something in their language."""

    def __init__(self, texts: Sequence[str], seed: int = 0) -> None:
        from sklearn.decomposition import TruncatedSVD

        self._tfidf = pieces()
        matrix = self._tfidf.fit_transform(texts)
        dimensions = max(1, min(DIMENSIONS, min(matrix.shape) - 1))
        self._svd = TruncatedSVD(dimensions, n_iter=_POWER_ITERATIONS, random_state=seed).fit(matrix)

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 (n, d); a text without one known piece is the zero vector."""
        vectors = self._svd.transform(self._tfidf.transform(texts))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        units: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
        return units
