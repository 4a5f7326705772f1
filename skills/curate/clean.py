"""Leaves out what would spoil a dataset: golden rows, contradictions, duplicates. Says which, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...data.rows import Dropped, Reason
from ...data.similar import Pairs, similar_pairs
from ...data.text import fingerprint, label_form
from .request import CurateRequest

if TYPE_CHECKING:
    import polars as pl

TIED_JACCARD = 0.7  # rows this similar stay on one side of the split


@dataclass
class Cleaned:
    """What is kept, as indices into the table, the pairs of similar rows among all of it, and the rest."""

    kept: list[int]
    pairs: Pairs
    dropped: list[Dropped]
    conflicts: dict[str, list[str]] = field(default_factory=dict)  # text -> its labels


@dataclass(frozen=True)
class _Rows:
    """The table's columns as lists."""

    source: list[str]
    row: list[int]
    text: list[str]
    label: list[str]
    meant: list[str]  # the labels in the form that is compared
    words: list[str]  # the texts' fingerprints
    replayed: list[bool]

    @classmethod
    def of(cls, table: pl.DataFrame) -> _Rows:
        text, label = table["text"].to_list(), table["label"].to_list()
        return cls(
            table["source"].to_list(),
            table["row"].to_list(),
            text,
            label,
            [label_form(one) for one in label],
            [fingerprint(one) for one in text],
            table["side"].is_not_null().to_list(),
        )

    def name(self, i: int) -> str:
        return f"{self.source[i]} row {self.row[i]}"


def clean(table: pl.DataFrame, golden: Sequence[str], request: CurateRequest) -> Cleaned:
    """Which rows of the table stay: of two that are alike, the earlier."""
    import numpy as np

    rows = _Rows.of(table)
    why: dict[int, tuple[Reason, str]] = {}
    _leaks(rows, golden, why)
    conflicts = _contradictions(rows, why)
    _equal(rows, why)
    left = [i for i in range(len(rows.text)) if i not in why]  # from here on no two have the same words
    folded = {fingerprint(text): text for text in golden}
    least = min(TIED_JACCARD, request.golden_jaccard, request.near_duplicate_jaccard)
    pairs = similar_pairs([*folded, *(rows.words[i] for i in left)], least, always=len(folded))
    place = np.array([-1] * len(folded) + left, np.int64)
    across, beyond = pairs.across(len(folded)), pairs.beyond(len(folded))
    _near_leaks(across.above(request.golden_jaccard), list(folded.values()), place.tolist(), why)
    among = Pairs(place[beyond.first], place[beyond.second], beyond.jaccard)
    _alike(rows, among.above(request.near_duplicate_jaccard), why)
    dropped = [
        Dropped(rows.source[i], rows.row[i], rows.text[i], rows.label[i], *why[i]) for i in sorted(why)
    ]
    return Cleaned([i for i in left if i not in why], among, dropped, conflicts)


def _leaks(rows: _Rows, golden: Sequence[str], why: dict[int, tuple[Reason, str]]) -> None:
    """Rows of the golden set: the same text, or the same words."""
    verbatim = set(golden)
    folded = {fingerprint(text): text for text in golden}
    for i, (text, words) in enumerate(zip(rows.text, rows.words, strict=True)):
        if text in verbatim:
            why[i] = (Reason.GOLDEN_VERBATIM, "")
        elif words in folded:
            why[i] = (Reason.GOLDEN_NORMALISED, f"golden: {folded[words]}")


def _near_leaks(
    pairs: Pairs, golden: list[str], place: list[int], why: dict[int, tuple[Reason, str]]
) -> None:
    """Rows nearly the same as a golden one; the nearest is named."""
    nearest: dict[int, tuple[float, int]] = {}
    for which, text, jaccard in pairs.each():
        nearest[place[text]] = max(nearest.get(place[text], (0.0, 0)), (jaccard, which))
    for i, (jaccard, which) in nearest.items():
        why[i] = (Reason.GOLDEN_NEAR_DUPLICATE, f"Jaccard {jaccard:.2f} to golden: {golden[which]}")


def _contradictions(rows: _Rows, why: dict[int, tuple[Reason, str]]) -> dict[str, list[str]]:
    """Rows with the same words and different labels: nobody can say which is right, so none stays.

    New rows that agree among themselves win over replayed ones: they are the later word.
    """
    same: defaultdict[str, list[int]] = defaultdict(list)
    for i, words in enumerate(rows.words):
        if i not in why:
            same[words].append(i)
    conflicts: dict[str, list[str]] = {}
    for members in same.values():
        if len({rows.meant[i] for i in members}) < 2:
            continue
        labels = sorted({rows.label[i] for i in members})
        conflicts[rows.text[members[0]]] = labels
        new = {rows.meant[i] for i in members if not rows.replayed[i]}
        for i in members:
            if len(new) != 1 or rows.meant[i] not in new:
                why[i] = (Reason.CONFLICTING_LABEL, f"labels: {', '.join(labels)}")
    return conflicts


def _equal(rows: _Rows, why: dict[int, tuple[Reason, str]]) -> None:
    """Rows with the same words and label as an earlier one."""
    first: dict[str, int] = {}
    for i, words in enumerate(rows.words):
        if i in why:
            continue
        earlier = first.setdefault(words, i)
        if earlier != i:
            same = rows.text[earlier] == rows.text[i]
            reason = Reason.EXACT_DUPLICATE if same else Reason.NORMALISED_DUPLICATE
            why[i] = (reason, f"of {rows.name(earlier)}")


def _alike(rows: _Rows, pairs: Pairs, why: dict[int, tuple[Reason, str]]) -> None:
    """Rows nearly the same as an earlier one that stays, with its label. Another label is another meaning."""
    for i, j, jaccard in pairs.each():
        if i not in why and j not in why and rows.meant[i] == rows.meant[j]:
            why[j] = (Reason.NEAR_DUPLICATE, f"Jaccard {jaccard:.2f} to {rows.name(i)}: {rows.text[i]}")
