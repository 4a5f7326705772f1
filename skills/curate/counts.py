"""What a dataset is made of, as its report, its facts, its metrics and the step's result tell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core.artifact_refs import DatasetRef
from ...core.contract import StepContext
from .request import LEAKS, CurateRequest, CurateResult

if TYPE_CHECKING:
    from .gather import RowSource
    from .golden_meaning import GoldenMeaning
    from .same_meaning import SameMeaning
    from .stages import Chosen, Table, Tally, Written

_NAME_CHARS = 24
_NOT_IN_REPORT = {"source", "source_sha256", "toxic_words", "compute", "dedup"}  # the rows do not hang on it


@dataclass(frozen=True)
class Counts:
    """What a dataset is made of, as its report, its facts, its metrics and the step's result tell it."""

    source: RowSource
    table: Table
    chosen: Chosen
    written: Written
    left_out: Tally
    unused: dict[str, int]
    conflicts: int
    meaning: GoldenMeaning | None
    alike: SameMeaning | None

    @property
    def counts(self) -> dict[str, int]:
        """The counts that facts, report and result share."""
        sides = self.written.sides
        return {
            "rows": sides.total(),
            "train_rows": sides["train"],
            "validation_rows": sides["validation"],
            "labels": len(self.written.labels),
        }

    @property
    def leaked(self) -> dict[str, int]:
        """Rows of the golden set, by how they were found."""
        return {name: self.left_out.by_reason[reason] for reason, name in LEAKS.items()}

    @property
    def dropped(self) -> dict[str, int]:
        """Rows left out, by reason."""
        return dict(sorted(self.left_out.by_reason.items()))

    @property
    def facts(self) -> dict[str, Any]:
        """What the artifact says of itself."""
        found = {"domains": sorted(self.written.domains), "sources": sorted(self.written.sources)}
        return {**self.counts, **found, "task": self.source.task}

    def report(self, request: CurateRequest) -> dict[str, Any]:
        """The dataset's report.json."""
        return {
            **self.counts,
            "task": self.source.task,
            "columns": self.source.reading.columns,
            "replay_rows": self.written.replayed,
            "selected_rows": self.source.new,
            "masked_rows": self.source.masked,
            "dropped": self.dropped,
            "unused": self.unused,
            "leaked": self.leaked,
            "near_golden": None if self.meaning is None else self.meaning.document(),
            "semantic_duplicates": None if self.alike is None else self.alike.document(),
            "conflicts": self.written.conflicts,
            "rows_of_label": dict(sorted(self.written.labels.items())),
            "groups": int(self.chosen.groups.max()) + 1,
            "source_sha256": self.source.sha256,
            "settings": request.model_dump(mode="json", exclude=_NOT_IN_REPORT),
        }

    def _told(self, reason: str, rows: int) -> str:
        lines = self.left_out.lines[reason]
        return f"{rows} {reason}" + (f" ({lines} lines)" if lines > rows else "")

    def log(self, ctx: StepContext) -> None:
        """Record the counts as metrics."""
        more = {"dropped": self.left_out.by_reason.total(), "leaked": sum(self.leaked.values())}
        more["own_answers"] = self.table.own_answers
        if self.meaning is not None:
            more["near_golden"] = self.meaning.near
        for name, value in {**self.counts, **more}.items():
            ctx.metric(name, value)

    def result(self, dataset: DatasetRef) -> CurateResult:
        """What the step gives."""
        return CurateResult(
            dataset=dataset,
            **self.counts,
            task=self.source.task,
            columns=self.source.reading.columns,
            replay_rows=self.written.replayed,
            dropped=self.dropped,
            unused=self.unused,
            leaked=self.leaked,
            masked_rows=self.source.masked,
            source_sha256=self.source.sha256,
            own_answers=self.table.own_answers,
            near_golden=0 if self.meaning is None else self.meaning.near,
            semantic_embedder="" if self.alike is None else self.alike.embedder,
            conflicts=self.conflicts,
            rows_left_out=_few([self._told(why, n) for why, n in _most_first(self.left_out.by_reason)]),
            fields_left_out=_few([name for name, _ in _most_first(Counter(self.unused))]),
        )


def _most_first(counts: Counter[str]) -> list[tuple[str, int]]:
    """Names with their counts; ties by alphabet."""
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def _few(names: Sequence[str], most: int = 3) -> str:
    """The first names, short enough for the line in which a terminal shows a result."""
    shown = [name if len(name) <= _NAME_CHARS else f"{name[:_NAME_CHARS]}..." for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
