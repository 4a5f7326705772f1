"""The stages of curating: take rows in, clean them, split them, write them. No stage holds a row's text."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from ...data.card import DroppedExamples, RowCounts
from ...data.personal import mask
from ...data.rows import Dropped, Reason
from ...data.sample import Sample, text_of
from ...data.shingles import ShingleStore
from ...data.similar import Pairs, SimilarityIndex
from .clean import TIED_JACCARD, Verdicts, leave_alike, leave_equal
from .gather import GatheredRow, GoldenRows
from .judge import JudgeRules, RowJudge
from .keys import RowKeys, answer_of
from .own_answers import OwnAnswers
from .request import CurateRequest
from .split import SIDES, choose_sides, find_groups

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...data.sample import Task
    from .golden_meaning import GoldenMeaning

    Ints = NDArray[np.int64]

Reader = Callable[[Callable[[Dropped], None]], Iterator[GatheredRow]]
_ROWS_AT_ONCE, _CHARS_AT_ONCE = 2000, 4_000_000
_SHOWN = 50


@dataclass
class Tally:
    """The rows left out: how many for each reason. Each is given to `write` and not kept."""

    write: Callable[[Dropped], None]
    hides_personal_data: bool = False  # what is shown of a row has it masked
    examples: DroppedExamples = field(default_factory=DroppedExamples)
    by_reason: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)  # of the source, that those rows take in

    def __call__(self, dropped: Dropped) -> None:
        """Count a row and write it down."""
        self.by_reason[str(dropped.reason)] += 1
        self.lines[str(dropped.reason)] += dropped.lines
        if self.hides_personal_data:
            text, label, detail = map(mask, (dropped.text, dropped.label, dropped.detail))
            dropped = replace(dropped, text=text, label=label, detail=detail)
        shown = dropped.cut()  # after masking: what is cut through has no form any more
        self.examples.add(shown)
        self.write(shown)

    def row(self, row: GatheredRow, reason: Reason, detail: str) -> None:
        """A sample that is left out."""
        self(Dropped.of(row.file, row.row, row.sample.question, answer_of(row.sample), reason, detail))


class Table(Protocol):
    """The rows that were taken in, wherever that was, and what cleaning finds among them."""

    keys: RowKeys
    taken: array[int]  # for each row of the source, in order, whether it was taken in
    own_answers: int  # rows that an endpoint answered, left out or not

    def take_in(self, read: Reader, drop: Tally, seen: Callable[[], None]) -> None:
        """Take in rows but those of the golden set and those nothing can be learned from.

        read: begins a pass over all rows, and gives those that cannot be read to what it is given.
        """

    def clean(self) -> tuple[Verdicts, Pairs]:
        """Which rows stay, and the similar ones among them."""


class RowTable:
    """What is known of the rows taken in: keys and shingles, on disk. A context manager."""

    def __init__(
        self,
        task: Task,
        request: CurateRequest,
        golden: GoldenRows,
        folder: Path,
        own: OwnAnswers | None = None,
        meaning: GoldenMeaning | None = None,
    ) -> None:
        self._files = ExitStack()
        memory = request.memory_mb << 20
        self.keys = self._files.enter_context(RowKeys(task, folder))
        self.taken = array("B")
        self.own_answers = 0
        self._request, self._memory, self._own, self._meaning = request, memory, own, meaning
        self._judge = RowJudge(JudgeRules.of(request, golden))
        index = SimilarityIndex(least_jaccard(request), folder, memory // 2)
        self._texts = self._files.enter_context(ExitStack())
        self._similar = self._texts.enter_context(index)
        self._answers = None if self.keys.labelled else self._texts.enter_context(ShingleStore(folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def take_in(self, read: Reader, drop: Tally, seen: Callable[[], None]) -> None:
        """Take in rows but those of the golden set and those nothing can be learned from."""
        for batch in row_batches(read(drop)):
            kept = self._kept(batch, drop)
            self._similar.add(self.keys.add(kept))
            if self._answers is not None:
                for _ in self._answers.add([answer_of(row.sample) for row in kept]):
                    pass
            seen()

    def _kept(self, batch: Sequence[GatheredRow], drop: Tally) -> list[GatheredRow]:
        """The rows that are taken in; the others are left out with their reason."""
        answered = self._own.why([row.sample for row in batch]) if self._own else [None] * len(batch)
        judged = self._judge.judge(batch, answered)
        self.own_answers += sum(one.is_own for one in judged)
        faults = [one.fault for one in judged]
        if self._meaning is not None:
            faults = self._meaning.judge(batch, faults)
        kept = []
        for row, fault in zip(batch, faults, strict=True):
            self.taken.append(fault is None)
            if fault is None:
                kept.append(row)
            else:
                drop.row(row, *fault)
        return kept

    def clean(self) -> tuple[Verdicts, Pairs]:
        """Which rows stay, and the similar ones among them."""
        verdicts = Verdicts.of(len(self.keys))
        leave_equal(self.keys, verdicts)
        pairs = self._similar.pairs(verdicts.kept)  # from here on no two have the same words
        leave_alike(pairs.above(self._request.near_duplicate_jaccard), self._same_answer, verdicts)
        self._texts.close()
        return verdicts, pairs

    def _same_answer(self, first: Ints, second: Ints) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = self.keys.meant(first) == self.keys.meant(second)
        if self._answers is not None:
            at_once = self._memory // 200
            alike, _ = self._answers.similar(first, second, self._request.near_duplicate_jaccard, at_once)
            same |= alike
        return same


def least_jaccard(request: CurateRequest) -> float:
    """From which Jaccard on two rows are looked for: to be left out, or to be kept on one side."""
    return min(TIED_JACCARD, request.near_duplicate_jaccard)


def row_batches(rows: Iterator[GatheredRow]) -> Iterator[list[GatheredRow]]:
    """Rows some at a time, fewer of long ones."""
    batch: list[GatheredRow] = []
    chars = 0
    for row in rows:
        batch.append(row)
        chars += sum(len(text_of(one)) for one in row.sample.conversation)
        if len(batch) >= _ROWS_AT_ONCE or chars >= _CHARS_AT_ONCE:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


@dataclass
class Chosen:
    """The rows of the dataset, ascending, with the group and the side of each."""

    rows: NDArray[np.int32]
    groups: NDArray[np.int32]
    sides: NDArray[np.int8]  # places in SIDES


def choose(keys: RowKeys, verdicts: Verdicts, pairs: Pairs, request: CurateRequest) -> Chosen:
    """The rows that stay, no more replayed ones than asked for, split by groups."""
    import numpy as np

    kept, fixed = np.flatnonzero(verdicts.kept).astype(np.int32), keys.side
    new = int((fixed[kept] == 0).sum())
    kept = kept[: new + round(request.replay_ratio * new)]  # replayed rows come last
    groups = find_groups(kept, pairs.above(TIED_JACCARD), (one[kept] for one in keys.ties))
    rank = np.argsort(np.argsort(np.array(list(keys.labels)))) if keys.labels else np.zeros(1, np.int64)
    labels = rank.astype(np.int32)[keys.label[kept]]
    sides = choose_sides(groups, labels, fixed[kept], request.validation_fraction, request.seed)
    return Chosen(kept, groups, sides)


@dataclass
class Written:
    """What went into the dataset."""

    sides: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    domains: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    conflicts: dict[str, list[str]] = field(default_factory=dict)  # some texts that had several labels
    replayed: int = 0
    profile: RowCounts = field(default_factory=RowCounts)


def write_rows(
    rows: Iterator[GatheredRow],
    table: Table,
    verdicts: Verdicts,
    chosen: Chosen,
    add: Callable[[Sample, str, str, str], None],
    drop: Tally,
) -> Written:
    """Go through all rows again: those that were chosen are added, those that do not stay dropped."""
    found, keys = Written(), table.keys
    labelled = keys.labelled
    at, place = -1, 0
    for row, taken in zip(rows, table.taken, strict=True):
        if not taken:
            continue
        at += 1
        if at in verdicts.conflicts and len(found.conflicts) < _SHOWN:
            found.conflicts[row.sample.question] = verdicts.conflicts[at]
        if place < len(chosen.rows) and chosen.rows[place] == at:
            side = SIDES[chosen.sides[place]] or ""
            add(row.sample, side, f"g{chosen.groups[place]:06d}", row.file)
            place += 1
            found.sides[side] += 1
            found.replayed += row.side is not None
            found.sources.add(row.file)
            answer = answer_of(row.sample)
            found.profile.add(row.sample, answer)
            if labelled:
                found.labels[answer] += 1
            if "domain" in row.sample.tags:
                found.domains.add(row.sample.tags["domain"])
        elif not verdicts.stays(at):
            drop.row(row, *verdicts.why(at, keys))
    return found
