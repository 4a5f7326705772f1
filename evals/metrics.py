"""Metrics: what counts as right, item by item and over all items."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

METRICS = {
    "exact_match": "share of answers equal to the right label",
    "known_label": "share of answers that are a label of the suite, right or wrong",
}
"""The metrics that are a share of items, so that an interval and a paired test exist: gates judge these."""


def normalise(answer: str) -> str:
    """The form in which an answer and a label are compared.

    Unicode NFKC, case-folded, runs of white space as one space, none around it. Nothing else: punctuation,
    articles and underscores count.
    """
    return " ".join(unicodedata.normalize("NFKC", answer).casefold().split())


def exact_match(expected: str, got: str | None) -> bool:
    """Whether an answer is the label, both normalised; no answer is wrong."""
    return got is not None and normalise(expected) == normalise(got)


def macro_f1(expected: Sequence[str], got: Sequence[str | None]) -> float:
    """Mean over the labels of `expected` of each one's F1, 0 to 1; 0 for no items."""
    wanted = [normalise(label) for label in expected]
    given = [None if answer is None else normalise(answer) for answer in got]
    right = Counter(w for w, g in zip(wanted, given, strict=True) if w == g)
    support, claimed = Counter(wanted), Counter(given)
    if not support:
        return 0.0
    return sum(2 * right[label] / (n + claimed[label]) for label, n in support.items()) / len(support)


def confusions(
    expected: Sequence[str], got: Sequence[str | None], most: int = 20
) -> list[tuple[str, str, int]]:
    """The wrong answers met most often, as (expected, got, times); ties in alphabetical order."""
    wrong = Counter(
        (w, "(no answer)" if g is None else g)
        for w, g in zip(expected, got, strict=True)
        if not exact_match(w, g)
    )
    return [(w, g, n) for (w, g), n in sorted(wrong.items(), key=lambda pair: (-pair[1], pair[0]))[:most]]
