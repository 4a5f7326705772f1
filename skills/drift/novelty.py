"""Novelty: whether more texts than usual are unlike anything in the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...data.embed import pieces

NEIGHBOURS = 10
USUAL_SHARE = 0.05  # of the reference's own texts, which are that unlike the others
_MOST_BASE, _MOST_OWN = 5000, 1500
_AT_ONCE = 500


class Novelty:
    """How near texts come to the reference: the mean cosine to their ten nearest texts in it.

    Cosines are of `pieces`. A text is novel when it is farther than all but USUAL_SHARE of texts that the
    reference itself holds apart for this: `own`, which `base` does not contain.
    """

    def __init__(self, base: Sequence[str], own: Sequence[str]) -> None:
        self._tfidf = pieces()
        self._base = self._tfidf.fit_transform(base[:_MOST_BASE]).T.tocsc()
        near = self.nearness(own[:_MOST_OWN])
        self.bound = float(np.quantile(near, USUAL_SHARE))
        self.own = len(near)
        self.own_novel = int(np.count_nonzero(near < self.bound))

    def nearness(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The mean cosine of each text to its nearest ones, float32 (n,)."""
        found = np.zeros(len(texts), np.float32)
        few = min(NEIGHBOURS, self._base.shape[1])
        for begin in range(0, len(texts), _AT_ONCE):
            cosines = (self._tfidf.transform(texts[begin : begin + _AT_ONCE]) @ self._base).toarray()
            nearest = np.partition(cosines, cosines.shape[1] - few, axis=1)[:, -few:]
            found[begin : begin + len(cosines)] = nearest.mean(axis=1)
        return found
