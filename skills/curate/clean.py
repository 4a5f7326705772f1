"""Leaves out what would spoil a dataset: contradictions and duplicates. Says which rows, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
_ROWS_AT_ONCE = 2_000_000  # of which what is made on the way takes some 60 bytes each
_PAIRS_AT_ONCE = 100_000
_REASONS = tuple(Reason)


@dataclass
class Verdicts:
    """For each row whether it stays, and else why, because of which other row, and how alike they are."""

    reason: NDArray[np.int8]
    other: NDArray[np.int32]
    jaccard: NDArray[np.float16]  # of rows of one meaning the cosine
    conflicts: dict[int, list[str]] = field(default_factory=dict)  # first row of the same words -> labels

    @classmethod
    def of(cls, n: int) -> Verdicts:
        """All of `n` rows stay."""
        import numpy as np

        return cls(np.full(n, _STAYS, np.int8), np.full(n, -1, np.int32), np.zeros(n, np.float16))

    @property
    def kept(self) -> NDArray[np.bool_]:
        """The rows that stay."""
        kept: NDArray[np.bool_] = self.reason == _STAYS
        return kept

    def stays(self, row: int) -> bool:
        """Whether a row stays."""
        return int(self.reason[row]) == _STAYS

    def leave(self, rows: Ints, reason: Reason, other: Ints) -> None:
        """Rows that do not stay, because of others."""
        self.reason[rows], self.other[rows] = _REASONS.index(reason), other

    def reason_of(self, row: int) -> Reason:
        """Why a row does not stay."""
        return _REASONS[int(self.reason[row])]

    def why(self, row: int, keys: RowKeys) -> tuple[Reason, str]:
        """The reason a row does not stay, in words."""
        reason, other = self.reason_of(row), int(self.other[row])
        if reason is Reason.CONFLICTING_LABEL:
            return reason, f"labels: {', '.join(self.conflicts[other])}"
        if reason is Reason.NEAR_DUPLICATE:
            return reason, f"Jaccard {self.jaccard[row]:.2f} to {keys.name(other)}"
        if reason is Reason.SEMANTIC_DUPLICATE:
            return reason, f"cosine {self.jaccard[row]:.2f} to {keys.name(other)}"
        return reason, f"of {keys.name(other)}"


def leave_equal(keys: RowKeys, verdicts: Verdicts) -> None:
    """Leave out labels that contradict each other, and rows with the words and answer of an earlier one."""
    if keys.labelled:
        _contradictions(keys, verdicts)
    _equal(keys, verdicts)


def _runs(keys: RowKeys, among: NDArray[np.bool_]) -> Iterator[tuple[Ints, Ints]]:
    """Rows in an order in which those with the same words lie side by side, and where each run begins.

    The earliest of a run comes first. So many rows at a time that it takes little memory.
    """
    import numpy as np

    parts = 1 + len(keys) // _ROWS_AT_ONCE
    for part in range(parts):
        rows, words = keys.words.part(among, part, parts)
        order = np.argsort(words, kind="stable")
        rows, words = rows[order], words[order]
        if len(rows):
            yield rows, np.flatnonzero(np.diff(words, prepend=words[:1] + np.uint64(1)))


def _contradictions(keys: RowKeys, verdicts: Verdicts) -> None:
    """Rows with the same words and different labels: nobody can say which is right, so none stays.

    New rows that agree among themselves win over replayed ones: they are the later word.
    """
    import numpy as np

    spelling, label, side = list(keys.labels), keys.label, keys.side
    for rows, begins in _runs(keys, verdicts.kept):
        meant = keys.meant(rows)
        differ = np.minimum.reduceat(meant, begins) != np.maximum.reduceat(meant, begins)
        ends = np.append(begins[1:], len(rows))
        for begin, end in zip(begins[differ].tolist(), ends[differ].tolist(), strict=True):
            same, labels = rows[begin:end], meant[begin:end]
            verdicts.conflicts[int(same[0])] = sorted({spelling[one] for one in label[same]})
            new = np.unique(labels[side[same] == 0])
            wrong = same[labels != new[0]] if len(new) == 1 else same
            verdicts.leave(wrong, Reason.CONFLICTING_LABEL, np.full(len(wrong), same[0], np.int64))


def _equal(keys: RowKeys, verdicts: Verdicts) -> None:
    """Rows with the same words and answer as an earlier one."""
    import numpy as np

    texts = keys.exact
    for rows, begins in _runs(keys, verdicts.kept):
        first = np.repeat(rows[begins], np.diff(begins, append=len(rows)))
        later = rows != first
        rows, first = rows[later], first[later]
        exact = texts[rows] == texts[first]
        verdicts.leave(rows[exact], Reason.EXACT_DUPLICATE, first[exact])
        verdicts.leave(rows[~exact], Reason.NORMALISED_DUPLICATE, first[~exact])


def leave_alike(
    pairs: Pairs,
    same_answer: Callable[[Ints, Ints], NDArray[np.bool_]],
    verdicts: Verdicts,
    reason: Reason = Reason.NEAR_DUPLICATE,
) -> None:
    """Leave out rows nearly the same as an earlier one that stays, with its answer; another is another row.

    same_answer: of pairs that are similar, whether they have the same answer.
    """
    import numpy as np

    same = np.flatnonzero(same_answer(pairs.first, pairs.second))
    same = same[np.lexsort((pairs.second[same], pairs.first[same]))]
    code = _REASONS.index(reason)
    for at in range(0, len(same), _PAIRS_AT_ONCE):
        some = same[at : at + _PAIRS_AT_ONCE]
        columns = (part[some].tolist() for part in (pairs.first, pairs.second, pairs.jaccard))
        for first, second, jaccard in zip(*columns, strict=True):
            if verdicts.reason[first] == _STAYS and verdicts.reason[second] == _STAYS:
                verdicts.reason[second], verdicts.other[second] = code, first
                verdicts.jaccard[second] = jaccard
