"""The best of what a search brought: by words and meaning, of several kinds, of the side asked for."""

from __future__ import annotations

from collections.abc import Sequence

from ...engines.vectors import Candidate, TextHit, blended

DEEPEST = 40  # passages by words, and by meaning, whose own vectors are compared; more where more are wanted
DEEPER = 4  # times the passages that are wanted are ranked
_OF_A_RECORD = 0.93  # of the score: what it led to says more
_OF_EXAMPLES = 0.85  # of the score: most words there are those of rows, which may speak of anything
_AGAIN = 0.9  # of the score, for each passage of its kind before it


def best_passages(
    records: Sequence[Candidate], docs: Sequence[Candidate], about: str, k: int
) -> list[TextHit]:
    """The k best. Of a question that is about "record" or "docs" the other side has one place."""
    most = max((one.words for one in (*records, *docs)), default=0.0)
    if about and k > 1:
        sides = (records, docs) if about == "record" else (docs, records)
        first = _ranked(sides[0], most, k)
        rest = _ranked(sides[1], most, max(1, k - len(first)))
        return first[: k - len(rest)] + rest
    return _ranked([*docs, *records], most, k)


def _ranked(candidates: Sequence[Candidate], most_words: float, k: int) -> list[TextHit]:
    """The k best, one after the other; each more of a kind counts less than the last.

    So that five passages are not the same step of five plans.
    """
    left = blended(candidates, most_words, max(DEEPER * k, DEEPEST))
    chosen: list[TextHit] = []

    def score(hit: TextHit) -> tuple[float, str]:
        kind = hit.values["kind"]
        again = sum(kind == one.values["kind"] for one in chosen)
        weight = _OF_A_RECORD if kind == "record" else _OF_EXAMPLES if ":dropped:" in hit.id else 1
        return hit.score * _AGAIN**again * weight, hit.id

    while left and len(chosen) < k:
        best = max(left, key=score)
        left.remove(best)
        chosen.append(best)
    return chosen
