"""Metrics: what counts as right, item by item and over all items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..data.sample import Task
from ..data.text import label_form

METRICS = {
    "exact_match": "share of answers equal to the right label",
    "known_label": "share of answers that are a label of the suite, right or wrong",
}
"""The metrics that are a share of items, so that an interval and a paired test exist: gates judge these."""


def exact_match(expected: str, got: str | None, task: Task = "classify") -> bool:
    """Whether an answer is the right one; no answer is wrong.

    Labels (`classify`) are compared by `label_form`; any other answer byte for byte, but for white space
    around it.
    """
    if got is None:
        return False
    if task == "classify":
        return label_form(expected) == label_form(got)
    return expected.strip() == got.strip()


def macro_f1(expected: Sequence[str], got: Sequence[str | None]) -> float:
    """Mean over the labels of `expected` of each one's F1, 0 to 1; 0 for no items."""
    wanted = [label_form(label) for label in expected]
    given = [None if answer is None else label_form(answer) for answer in got]
    right = Counter(w for w, g in zip(wanted, given, strict=True) if w == g)
    support, claimed = Counter(wanted), Counter(given)
    if not support:
        return 0.0
    return sum(2 * right[label] / (n + claimed[label]) for label, n in support.items()) / len(support)


def confusions(wrong: Iterable[tuple[str, str | None]], most: int = 20) -> list[tuple[str, str, int]]:
    """Of wrong answers, as (expected, got), those met most often with their number; ties by alphabet."""
    met = Counter((expected, "(no answer)" if got is None else got) for expected, got in wrong)
    return [(w, g, n) for (w, g), n in sorted(met.items(), key=lambda pair: (-pair[1], pair[0]))[:most]]
