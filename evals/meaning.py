"""Suite items in other words: texts whose vectors lie near an item's, by an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..core.errors import BackendError
from ..engines.embeddings import Embedded
from .scorers.text_vectors import TextVectors


class Nearest(NamedTuple):
    """The item whose vector lies nearest to a text's, and their cosine, -1 to 1."""

    item: str
    cosine: float


class MeaningFinder:
    """Finds the item that is nearest in meaning to a text.

    items: at least one; BackendError for one without a vector, since a text could be that item unseen. What
    is near differs from embedder to embedder: no cosine means the same in two of them.
    """

    def __init__(self, items: Sequence[str], vectors: TextVectors) -> None:
        import numpy as np

        self._vectors = vectors
        self._items = list(dict.fromkeys(items))
        found = vectors.of(self._items)
        self._matrix = np.asarray([self._of_item(one, found[one]) for one in self._items], np.float32)

    def nearest(self, texts: Sequence[str]) -> list[Nearest | str]:
        """For each text the nearest item, or why the embedder refused it.

        BackendError when a request failed: vectors that came are kept, and not asked for another time.
        """
        found = self._vectors.of(texts)
        if self._vectors.failure:
            raise BackendError(f"{self._name} failed: {self._vectors.failure}. Run it again when it answers.")
        return [self._nearest(found[text]) for text in texts]

    def _nearest(self, vector: Embedded) -> Nearest | str:
        import numpy as np

        if isinstance(vector, str):
            return vector
        cosines = self._matrix @ np.asarray(self._checked(vector), np.float32)
        place = int(cosines.argmax())
        return Nearest(self._items[place], float(cosines[place]))

    @property
    def _name(self) -> str:
        return f"the embedder {self._vectors.settings.model} at {self._vectors.settings.url}"

    def _of_item(self, item: str, vector: Embedded) -> Sequence[float]:
        if isinstance(vector, str):
            raise BackendError(f"{self._name} gave no vector of the golden item '{item[:80]}': {vector}")
        return self._checked(vector)

    def _checked(self, vector: Sequence[float]) -> Sequence[float]:
        wanted = self._vectors.dimensions
        if len(vector) != wanted:
            raise BackendError(
                f"{self._name} gave vectors of {wanted} and of {len(vector)} dimensions under one name. Name "
                "the model by its version, so that those kept from before are not taken."
            )
        return vector
