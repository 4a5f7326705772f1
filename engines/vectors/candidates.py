"""What a search brought, ranked by words and by meaning together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """A row that may be what is asked for. words: BM25, 0 where none is shared; meaning: cosine, -1 to 1."""

    id: str
    words: float
    meaning: float
    text: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class TextHit:
    """A row that was found. score: by words and meaning, or of one search the inner product."""

    id: str
    score: float
    text: str
    values: Mapping[str, Any]


def blended(candidates: Sequence[Candidate], most_words: float, limit: int) -> list[TextHit]:
    """At most `limit`, best first, by words in shares of the best (`most_words` > 0) and cosine, added up.

    Candidates of one id count once.
    """
    every = {one.id: one for one in candidates if one.words > 0 or one.meaning > 0}.values()
    share = 1 / most_words if most_words > 0 else 0.0
    scores = {one.id: share * one.words + max(0.0, one.meaning) for one in every}
    best = sorted(every, key=lambda one: (-scores[one.id], one.id))
    return [TextHit(one.id, scores[one.id], one.text, one.values) for one in best[:limit]]
