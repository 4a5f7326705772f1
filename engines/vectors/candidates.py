"""What a search brought, ranked by words and by meaning, and both ranks fused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_RANK_CONSTANT = 60  # Cormack, Clarke and Buettcher, "Reciprocal rank fusion", SIGIR 2009


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
    """A row that was found. score: of both ranks, or of one search the inner product."""

    id: str
    score: float
    text: str
    values: Mapping[str, Any]


def fused(candidates: Sequence[Candidate], limit: int) -> list[TextHit]:
    """The best by both ranks, from at most `limit` of each; candidates of one id count once."""
    every = list({one.id: one for one in candidates}.values())
    scores: dict[str, float] = {}
    by_words = sorted((one for one in every if one.words > 0), key=lambda one: (-one.words, one.id))
    by_meaning = sorted((one for one in every if one.meaning > 0), key=lambda one: (-one.meaning, one.id))
    for ranked in (by_words[:limit], by_meaning[:limit]):
        for rank, one in enumerate(ranked, 1):
            scores[one.id] = scores.get(one.id, 0.0) + 1 / (_RANK_CONSTANT + rank)
    best = sorted((one for one in every if one.id in scores), key=lambda one: (-scores[one.id], one.id))
    return [TextHit(one.id, scores[one.id], one.text, one.values) for one in best[:limit]]
