"""Rows to learn from that are held out too: word for word, nearly, or of a group that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from ...data.read import Source, read_samples
from ...data.sample import Sample, asked_of
from ...evals.contamination import OverlapFinder

GROUP = "of a held-out group"
_ROWS_AT_ONCE = 2000


def judged_rows(train: Source, golden: Sequence[Sample]) -> Iterator[tuple[Sample, str | None]]:
    """Every training row, and how what it asks was found in the golden set; None where it was not.

    The rule is that of `curate`, which leaves such rows out.
    """
    finder = OverlapFinder([asked_of(sample) for sample in golden])
    groups = {sample.group for sample in golden} - {None}
    rows = iter(read_samples(train, lambda dropped: None))
    while batch := list(islice(rows, _ROWS_AT_ONCE)):
        for sample, found in zip(batch, finder.surest([asked_of(one) for one in batch]), strict=True):
            yield sample, str(found.kind) if found is not None else GROUP if sample.group in groups else None


def count_leaks(train: Source, golden: Sequence[Sample]) -> Mapping[str, int]:
    """Rows to learn from that are held out too, by how they were found, most first."""
    return dict(Counter(how for _, how in judged_rows(train, golden) if how is not None).most_common())
