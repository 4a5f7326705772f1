"""Says of rows why they are not taken in, before any is compared with another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from ...core.errors import BackendError, OpswrightError
from ...data.filters import Filter, make_filter
from ...data.rows import Reason
from ...data.sample import ASSISTANT, Sample, asked_of
from ...evals.contamination import Overlap, OverlapFinder
from .gather import GatheredRow, GoldenRows
from .request import CurateRequest


class LeftOut(NamedTuple):
    """Why a row is left out, in words too."""

    reason: Reason
    detail: str


class Judged(NamedTuple):
    """What was found of a row: its fault, if any; whether it counts as one that an endpoint answered."""

    fault: LeftOut | None
    is_own: bool


@dataclass(frozen=True)
class JudgeRules:
    """By what rows are judged, whole: no file but the list of words is read besides."""

    filters: tuple[str, ...]
    toxic_words: Path | None
    golden: GoldenRows
    golden_jaccard: float
    drops_own: bool

    @classmethod
    def of(cls, request: CurateRequest, golden: GoldenRows) -> Self:
        """The rules of a request."""
        drops_own = request.own_answers == "drop"
        return cls(request.filters, request.toxic_words, golden, request.golden_jaccard, drops_own)

    def document(self) -> dict[str, Any]:
        """The rules as plain JSON."""
        return {
            "filters": list(self.filters),
            "toxic_words": None if self.toxic_words is None else str(self.toxic_words),
            "golden_texts": list(self.golden.texts),
            "golden_groups": sorted(self.golden.groups),
            "golden_jaccard": self.golden_jaccard,
            "drops_own": self.drops_own,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The rules that `document` gave."""
        golden = GoldenRows(document["golden_texts"], frozenset(document["golden_groups"]))
        words = document["toxic_words"]
        return cls(
            tuple(document["filters"]),
            None if words is None else Path(words),
            golden,
            document["golden_jaccard"],
            document["drops_own"],
        )


class RowJudge:
    """Judges rows one at a time, by rules alone: who judges them, and in which batches, changes nothing.

    filters: names and functions, by default those that the rules name.
    """

    def __init__(self, rules: JudgeRules, filters: Sequence[tuple[str, Filter]] | None = None) -> None:
        self._rules = rules
        if filters is None:
            filters = [make_filter(asked, rules.toxic_words) for asked in rules.filters]
        self._filters = filters
        golden = rules.golden.texts
        self._leaks = OverlapFinder(golden, rules.golden_jaccard, common=True) if golden else None

    def judge(self, rows: Sequence[GatheredRow], answered: Sequence[str | None]) -> list[Judged]:
        """What is found of each row; answered: how an endpoint's answer was found in it, if one was."""
        asked = [asked_of(row.sample) for row in rows]
        leaks = self._leaks.surest(asked) if self._leaks else [None] * len(rows)
        return [self._judged(*one) for one in zip(rows, leaks, answered, strict=True)]

    def _judged(self, row: GatheredRow, leak: Overlap | None, own: str | None) -> Judged:
        """The first fault that there is; an answer counts as an endpoint's where nothing comes before it."""
        if (fault := self._unfit(row.sample, leak)) is not None:
            return Judged(fault, False)
        if own is not None and self._rules.drops_own:
            return Judged(LeftOut(Reason.OWN_ANSWER, own), True)
        return Judged(self._filtered(row), own is not None)

    def _unfit(self, sample: Sample, leak: Overlap | None) -> LeftOut | None:
        if not _teaches(sample):
            return LeftOut(Reason.EMPTY_LABEL, "no answer to learn")
        if leak is not None and self._leaks is not None:
            golden = self._leaks.items[leak.item]
            shown = "" if leak.kind == "verbatim" else f"{leak.score:.2f} of golden: {golden}"
            return LeftOut(Reason(f"golden_{leak.kind}"), shown)
        if sample.group in self._rules.golden.groups:
            return LeftOut(Reason.GOLDEN_GROUP, f"group {sample.group}")
        return None

    def _filtered(self, row: GatheredRow) -> LeftOut | None:
        for name, judge in self._filters:
            try:
                why = judge(row.sample)
            except OpswrightError:
                raise
            except Exception as error:
                raise BackendError(
                    f"filter {name} failed on {row.name}: {type(error).__name__}: {error}. Leave the filter "
                    "out, or mend that row."
                ) from error
            if why is not None:
                return LeftOut(Reason(f"filter_{name}"), why)
        return None


def _teaches(sample: Sample) -> bool:
    """Whether a sample ends with something to learn."""
    return bool(sample.targets) or sample.messages[-1]["role"] == ASSISTANT
