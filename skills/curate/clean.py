"""Leaves out what would spoil a dataset: contradictions and duplicates. Says which rows, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...data.rows import Reason
from ...data.similar import Pairs
from .keys import RowKeys

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

TIED_JACCARD = 0.7  # rows this similar stay on one side of the split
_STAYS = -1
_REASONS = tuple(Reason)


@dataclass
class Verdicts:
    """For each row whether it stays, and else why, because of which other row, and how alike they are."""

    reason: NDArray[np.int8]
    other: Ints
    jaccard: NDArray[np.float32]
    conflicts: dict[int, list[str]] = field(default_factory=dict)  # first row of the same words -> labels

    @classmethod
    def of(cls, n: int) -> Verdicts:
        """All of `n` rows stay."""
        import numpy as np

        return cls(np.full(n, _STAYS, np.int8), np.full(n, -1, np.int64), np.zeros(n, np.float32))

    @property
    def kept(self) -> NDArray[np.bool_]:
        """The rows that stay."""
        kept: NDArray[np.bool_] = self.reason == _STAYS
        return kept

    def leave(self, rows: Ints, reason: Reason, other: Ints) -> None:
        """Rows that do not stay, because of others."""
        self.reason[rows], self.other[rows] = _REASONS.index(reason), other

    def why(self, row: int, keys: RowKeys) -> tuple[Reason, str]:
        """The reason a row does not stay, in words."""
        reason, other = _REASONS[self.reason[row]], int(self.other[row])
        if reason is Reason.CONFLICTING_LABEL:
            return reason, f"labels: {', '.join(self.conflicts[other])}"
        if reason is Reason.NEAR_DUPLICATE:
            return reason, f"Jaccard {self.jaccard[row]:.2f} to {keys.name(other)}"
        return reason, f"of {keys.name(other)}"


def clean(
    keys: RowKeys,
    similar: Callable[[NDArray[np.bool_]], Pairs],
    near: float,
    same_answer: Callable[[Ints, Ints], NDArray[np.bool_]],
) -> tuple[Verdicts, Pairs]:
    """Which rows stay, of two that are alike the earlier; and the pairs of similar rows among the others.

    similar: the pairs among the rows that it is given as marked. same_answer: of pairs that are similar,
    whether they have the same answer.
    """
    verdicts = Verdicts.of(len(keys))
    if keys.labelled:
        _contradictions(keys, verdicts)
    _equal(keys, verdicts)
    pairs = similar(verdicts.kept)  # from here on no two have the same words
    _alike(pairs.above(near), same_answer, verdicts)
    return verdicts, pairs


def _runs(hashes: NDArray[np.uint64]) -> tuple[Ints, Ints]:
    """Rows ordered so that equal ones lie side by side, the earliest first; where each run begins."""
    import numpy as np

    order = np.argsort(hashes, kind="stable")
    same = hashes[order]
    return order, np.flatnonzero(np.diff(same, prepend=same[:1] + np.uint64(1)))


def _contradictions(keys: RowKeys, verdicts: Verdicts) -> None:
    """Rows with the same words and different labels: nobody can say which is right, so none stays.

    New rows that agree among themselves win over replayed ones: they are the later word.
    """
    import numpy as np

    order, begins = _runs(keys.words)
    if not len(order):
        return
    meant = keys.meant[order]
    differ = np.minimum.reduceat(meant, begins) != np.maximum.reduceat(meant, begins)
    ends = np.append(begins[1:], len(order))
    spelling = list(keys.labels)
    for begin, end in zip(begins[differ].tolist(), ends[differ].tolist(), strict=True):
        rows = order[begin:end]
        verdicts.conflicts[int(rows[0])] = sorted({spelling[label] for label in keys.label[rows]})
        new = np.unique(keys.meant[rows][keys.side[rows] == 0])
        wrong = rows[keys.meant[rows] != new[0]] if len(new) == 1 else rows
        verdicts.leave(wrong, Reason.CONFLICTING_LABEL, np.full(len(wrong), rows[0], np.int64))


def _equal(keys: RowKeys, verdicts: Verdicts) -> None:
    """Rows with the same words and answer as an earlier one."""
    import numpy as np

    left = np.flatnonzero(verdicts.kept)
    order, begins = _runs(keys.words[left])
    rows = left[order]
    first = np.repeat(rows[begins], np.diff(begins, append=len(rows)))
    later = rows != first
    rows, first = rows[later], first[later]
    exact = keys.exact[rows] == keys.exact[first]
    verdicts.leave(rows[exact], Reason.EXACT_DUPLICATE, first[exact])
    verdicts.leave(rows[~exact], Reason.NORMALISED_DUPLICATE, first[~exact])


def _alike(pairs: Pairs, same_answer: Callable[[Ints, Ints], NDArray[np.bool_]], verdicts: Verdicts) -> None:
    """Rows nearly the same as an earlier one that stays, with its answer. Another answer is another row."""
    import numpy as np

    same = same_answer(pairs.first, pairs.second)
    order = np.lexsort((pairs.second[same], pairs.first[same]))
    columns = (part[same][order].tolist() for part in (pairs.first, pairs.second, pairs.jaccard))
    code = _REASONS.index(Reason.NEAR_DUPLICATE)
    for first, second, jaccard in zip(*columns, strict=True):
        if verdicts.reason[first] == _STAYS and verdicts.reason[second] == _STAYS:
            verdicts.reason[second], verdicts.other[second] = code, first
            verdicts.jaccard[second] = jaccard
