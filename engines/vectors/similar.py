"""Texts that mean nearly the same, and texts like one that is given: by vectors, in Milvus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .collection import Column, TextRow, VectorCollection
from .encoder import TextEncoder
from .lite import LiteServer
from .snapshots import SnapshotFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Embed = Callable[[Sequence[str]], "NDArray[np.float32]"]
"""Unit vectors of texts, float32 (n, dimensions)."""

_FITTED_ON = 4000
_EMBEDDED_AT_ONCE = 1000
_ASKED_AT_ONCE = 200
_NEIGHBOURS = 10  # of each text that are looked at: of a crowd that means the same, not each pair is given
_NAME, _COLUMNS = "rows", (Column("place", "number"),)


@dataclass(frozen=True)
class SimilarText:
    """A text by its place among those indexed, and the cosine of its vector, -1 to 1."""

    place: int
    cosine: float


@dataclass(frozen=True)
class SimilarPair:
    """Two texts by their places, first < second, and the cosine of their vectors."""

    first: int
    second: int
    cosine: float


class SimilarTexts:
    """Texts in a collection of their own, in the order in which they were given."""

    def __init__(self, collection: VectorCollection, encoder: TextEncoder, embed: Embed, size: int) -> None:
        self._collection, self._encoder, self._embed, self.size = collection, encoder, embed, size

    @classmethod
    @contextmanager
    def of(
        cls,
        texts: Sequence[str],
        folder: Path,
        embed: Embed | None = None,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Iterator[SimilarTexts]:
        """Index texts, or take the index that an earlier call for the same ones left in a folder.

        folder: one for these texts and this embedder, and for nothing else. embed: who gives vectors; none:
        an encoder fitted on the texts themselves.
        """
        snapshots = SnapshotFolder(folder)
        with snapshots.writing():
            known = snapshots.current()
            if known is None or known.facts.get("size") != len(texts):
                _build(texts, snapshots, folder / "building", embed, progress)
        with snapshots.copied_current() as copied:
            if copied is None:
                raise FileNotFoundError(f"{folder} was removed while it was used")
            place = copied[1]
            encoder = TextEncoder.load(place / "encoder.safetensors")
            with LiteServer(place / "data") as server:
                collection = VectorCollection(server.client, _NAME, _COLUMNS)
                collection.load()
                yield cls(collection, encoder, embed or encoder.dense, len(texts))

    def like(self, text: str, k: int) -> list[SimilarText]:
        """The k texts nearest to one in meaning, best first."""
        return [
            SimilarText(int(hit.values["place"]), hit.score)
            for hit in self._collection.nearest(self._embed([text]), k)[0]
        ]

    def pairs(
        self, texts: Sequence[str], least: float, progress: Callable[[int], None] = lambda done: None
    ) -> list[SimilarPair]:
        """Pairs of the indexed texts with a cosine of `least` or more, nearest first.

        Of each text its 10 nearest are looked at. A text without a vector is like no other.
        """
        found: dict[tuple[int, int], float] = {}
        for at in range(0, len(texts), _ASKED_AT_ONCE):
            vectors = self._embed(texts[at : at + _ASKED_AT_ONCE])
            for place, hits in enumerate(self._collection.nearest(vectors, _NEIGHBOURS + 1), at):
                for hit in hits:
                    other = int(hit.values["place"])
                    if other != place and hit.score >= least:
                        found[min(place, other), max(place, other)] = min(1.0, hit.score)
            progress(min(at + _ASKED_AT_ONCE, len(texts)))
        pairs = [SimilarPair(first, second, cosine) for (first, second), cosine in found.items()]
        return sorted(pairs, key=lambda one: (-one.cosine, one.first, one.second))


def _build(
    texts: Sequence[str],
    snapshots: SnapshotFolder,
    place: Path,
    embed: Embed | None,
    progress: Callable[[int], None],
) -> None:
    """Index texts in a folder and publish it."""
    import shutil

    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700, parents=True)
    try:
        step = max(1, len(texts) // _FITTED_ON)
        encoder = TextEncoder.fit(texts[::step])
        encoder.save(place / "encoder.safetensors")
        (place / "data").mkdir()
        with LiteServer(place / "data") as server:
            collection = VectorCollection(server.client, _NAME, _COLUMNS)
            for at in range(0, len(texts), _EMBEDDED_AT_ONCE):
                some = texts[at : at + _EMBEDDED_AT_ONCE]
                vectors = (embed or encoder.dense)(some)
                if at == 0:
                    collection.create(int(vectors.shape[1]))
                collection.upsert(
                    [
                        TextRow(str(number), "", vector, {}, {"place": number})
                        for number, vector in enumerate(vectors, at)
                    ]
                )
                progress(at + len(some))
            collection.flush()
        snapshots.publish(place, {"size": len(texts)})
    finally:
        shutil.rmtree(place, ignore_errors=True)
