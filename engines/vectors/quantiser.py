"""Dense vectors as a few sparse terms, so that one search of an inverted index ranks by words and by meaning.

A vector is cut into parts, and each part is told by the nearest of some centres: 16 terms. The product of a
question's terms with a text's is nearly that of their vectors; those it finds are ranked again by their own.
Source: Jegou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 33 (2011).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import IntegrityError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARTS, _CENTRES = 16, 32
_READ, _READ_LEAST = 16_000, 6_000  # entries of an index, some 1 us each in Milvus Lite
_NAMES = ("mean", "rotation", "centres", "shares")
_FIRST = 1 << 31  # words are dimensions below
_ROUNDS = 15


class VectorQuantiser:
    """Tells vectors by terms.

    mean: (d,) of the vectors of the fit; rotation: (d, parts * long), evens their parts; centres: (parts,
    centres, long); shares: (parts, centres), of the texts that a term tells.
    """

    def __init__(
        self,
        mean: NDArray[np.float32],
        rotation: NDArray[np.float32],
        centres: NDArray[np.float32],
        shares: NDArray[np.float32],
    ) -> None:
        self._mean, self._rotation, self._centres, self._shares = mean, rotation, centres, shares

    @classmethod
    def fit(cls, vectors: NDArray[np.float32]) -> VectorQuantiser:
        """Fit on vectors, at least one, (n, dimensions); the same ones give the same quantiser."""
        import numpy as np
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        long = -(-vectors.shape[1] // PARTS) * PARTS
        drawn = np.random.default_rng(0).normal(size=(long, long))
        rotation = np.linalg.qr(drawn)[0].astype(np.float32)[: vectors.shape[1]]
        mean = vectors.mean(axis=0)
        kinds = min(_CENTRES, len(np.unique(vectors, axis=0)))
        centres, shares = [], []
        for part in np.split((vectors - mean) @ rotation, PARTS, axis=1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # fewer kinds of this part than centres
                found = KMeans(kinds, n_init=1, max_iter=_ROUNDS, random_state=0).fit(part)
            centres.append(found.cluster_centers_)
            shares.append(np.bincount(found.labels_, minlength=kinds) / len(vectors))
        return cls(mean, rotation, np.stack(centres).astype(np.float32), np.stack(shares).astype(np.float32))

    def terms(self, vectors: NDArray[np.float32]) -> list[dict[int, float]]:
        """For each of some vectors, (n, dimensions), the terms that tell it; none for the zero vector."""
        import numpy as np

        kinds = self._centres.shape[1]
        parts = np.split((vectors - self._mean) @ self._rotation, PARTS, axis=1)
        nearest = [
            (2 * part @ centres.T - (centres**2).sum(axis=1)).argmax(axis=1)
            for part, centres in zip(parts, self._centres, strict=True)
        ]
        codes = np.stack(nearest, axis=1) + kinds * np.arange(PARTS)
        return [
            {_FIRST + code: 1.0 for code in row} if vector.any() else {}
            for row, vector in zip(codes.tolist(), vectors, strict=True)
        ]

    def question(self, vector: NDArray[np.float32], texts: int) -> dict[int, float]:
        """The terms of texts that may be near to a vector, (dimensions,), the nearer the heavier.

        The best of those that say more than nothing, until some thousand entries of an index of so
        many texts are read: the fewer, the longer the search walks anyhow.
        """
        import numpy as np

        products = np.einsum("pcd,pd->pc", self._centres, (vector @ self._rotation).reshape(PARTS, -1))
        gains = products - (products * self._shares).sum(axis=1, keepdims=True)  # over what any text has
        order = np.argsort(-gains, axis=None)
        read = np.cumsum(self._shares.ravel()[order]) * texts
        wanted = (gains.ravel()[order] > 0) & (read - read[0] <= max(_READ_LEAST, _READ - texts))
        return {_FIRST + int(at): float(gains.ravel()[at]) for at in order[wanted]}

    def save(self, path: Path) -> None:
        """Write it to a file, as safetensors."""
        from safetensors.numpy import save

        parts = (self._mean, self._rotation, self._centres, self._shares)
        path.write_bytes(bytes(save(dict(zip(_NAMES, parts, strict=True)))))

    @classmethod
    def load(cls, path: Path) -> VectorQuantiser:
        """Read it from a file; IntegrityError for one that holds none."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            found = load(path.read_bytes())
            mean, rotation, centres, shares = (found[name] for name in _NAMES)
            parts, kinds, long = centres.shape
            if (
                parts != PARTS
                or rotation.shape != (*mean.shape, PARTS * long)
                or shares.shape != (PARTS, kinds)
            ):
                raise ValueError("another format")
        except (OSError, SafetensorError, LookupError, ValueError) as error:
            raise IntegrityError(f"{path} holds no quantiser: {error}. It is made anew.") from error
        return cls(mean, rotation, centres, shares)
