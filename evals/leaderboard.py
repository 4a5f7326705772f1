"""The leaderboard: every measured model and its baselines, best first."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ..core.artifact_refs import ArtifactRef, ClassifierRef, parse_ref
from ..core.artifacts import ArtifactStore
from ..core.errors import AskError
from ..core.suite_source import suite_name
from ..core.text import no_formula
from ..core.workspace import Workspace
from ..record.index import LedgerIndex
from .lineage import ReportLineage, report_lineage

FORMATS = ("table", "md", "json", "csv")
_LISTS = ("named_slices", "fronts")  # columns with words
_FEW = 4  # slices that fit into a table


@dataclass(frozen=True)
class LeaderboardRow:
    """One line: a model (or a baseline) on one suite, `value` with its 95 % interval.

    `report` is where it was measured; `run` and `record` are what made the report, where the ledger knows.
    `tier` and `ranks` are what the items show of its place on the suite, where `with_ranks` looked at them;
    `fronts` the prices (latency, size) at which no model is as good, where `with_fronts` did.
    `leaked`: how many of the n items are in what it learned from, None where that is not known.
    """

    model: str
    kind: str
    suite: str
    suite_digest: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    errors: int
    slices: Mapping[str, float]
    p50_ms: float | None
    p95_ms: float | None
    size_bytes: int | None
    train_dataset: str | None
    date: str
    verdict: str | None
    report: str
    run: str | None
    record: int | None
    goal: str | None
    tier: str | None = None
    ranks: str | None = None
    named_slices: tuple[str, ...] = ()
    fronts: tuple[str, ...] = ()
    leaked: int | None = None

    @property
    def id(self) -> str:
        """The report, and for a baseline its name behind a slash."""
        return f"{self.report}/{self.model}" if self.kind == "baseline" else self.report

    @property
    def is_baseline(self) -> bool:
        """Whether it is there to be beaten: a baseline, or a classifier beside models that generate."""
        return self.kind in ("baseline", ClassifierRef.kind)

    @property
    def short_id(self) -> str:
        """The id with 12 digits of the report."""
        return self.id.replace(self.report, short(self.report))

    @property
    def name(self) -> str:
        """The model as people read it: references by 12 digits."""
        return short(self.model)

    @property
    def groups(self) -> dict[str, float]:
        """The slices that the suite, or the asker, gave a name; without any, all if they are few."""
        if not self.named_slices and len(self.slices) <= _FEW:
            return dict(self.slices)
        return {name: self.slices[name] for name in self.named_slices if name in self.slices}


COLUMNS = tuple(LeaderboardRow.__dataclass_fields__)


def board(workspace: Workspace, suite: str | None = None) -> list[LeaderboardRow]:
    """The leaderboard_rows of a workspace; AskError for a suite that neither exists nor was measured.

    suite: its name, or its file.
    """
    from .suites import load_suite

    found = list(workspace.artifacts.list("eval-report"))
    if suite is not None:
        suite = suite_name(suite)
        if suite not in {manifest["facts"]["suite"] for _, manifest in found}:
            load_suite(suite)
    reports = [str(ref) for ref, _ in found]
    return leaderboard_rows(workspace.artifacts, suite, report_lineage(LedgerIndex.of(workspace), reports))


def leaderboard_rows(
    store: ArtifactStore, suite: str | None = None, made: Mapping[str, ReportLineage] | None = None
) -> list[LeaderboardRow]:
    """A line for the newest report of each model, and for each baseline, by suite and falling value.

    `made` says where each report came from, by its reference. A model that was measured on another number of
    items, or another version of the suite, has a line for each.
    """
    lines: dict[tuple[Any, ...], LeaderboardRow] = {}
    for line in _newest_first(store, made or {}):
        if suite is None or line.suite == suite:
            who = line.model if line.kind != "baseline" else (line.model, line.train_dataset)
            lines.setdefault((who, line.suite_digest, line.n), line)
    return sorted(lines.values(), key=lambda line: (line.suite, -line.value, line.model, line.n, line.id))


def _newest_first(store: ArtifactStore, made: Mapping[str, ReportLineage]) -> list[LeaderboardRow]:
    """Every line of every report; the ledger's order where it has one, else the files'."""
    lines = [
        line
        for ref, manifest in store.list("eval-report")  # newest first
        if manifest["facts"].get("value") is not None
        for line in _lines_of(store, ref, manifest["facts"], made.get(ref, ReportLineage()))
    ]
    return sorted(lines, key=lambda line: (line.date, line.record or 0), reverse=True)


def _lines_of(
    store: ArtifactStore, ref: ArtifactRef, facts: Mapping[str, Any], lineage: ReportLineage
) -> Iterable[LeaderboardRow]:
    kind = str(facts["model"]).partition(":")[0]
    common = {
        "suite": facts["suite"],
        "suite_digest": facts["suite_digest"],
        "metric": facts["metric"],
        "n": facts["n"],
        "train_dataset": facts.get("train_dataset"),
        "date": _date(store, ref, lineage),
        "report": str(ref),
        "run": lineage.run,
        "record": lineage.record,
        "goal": lineage.goal,
        "named_slices": tuple(facts.get("groups", ())),
        "leaked": facts.get("leaked"),
    }
    yield LeaderboardRow(
        **common,
        **_figures(facts),
        model=facts["model"],
        kind="endpoint" if kind in ("http", "https") else kind,
        errors=facts.get("errors", 0),
        p50_ms=facts["latency_ms"]["p50"],
        p95_ms=facts["latency_ms"]["p95"],
        size_bytes=facts.get("size_bytes"),
        verdict=lineage.verdict,
    )
    for name, figures in facts["baselines"].items():
        yield LeaderboardRow(
            **common,
            **_figures(figures),
            model=name,
            kind="baseline",
            errors=0,
            p50_ms=None,
            p95_ms=None,
            size_bytes=None,
            verdict=None,
        )


def _date(store: ArtifactStore, ref: ArtifactRef, lineage: ReportLineage) -> str:
    """When the ledger says the report was made, else when its manifest was written; UTC to the second."""
    if lineage.time is not None:
        made = datetime.fromisoformat(lineage.time).astimezone(UTC)
    else:
        made = datetime.fromtimestamp((store.folder(ref) / "artifact.json").stat().st_mtime, UTC)
    return made.isoformat(timespec="seconds")


def _figures(facts: Mapping[str, Any]) -> dict[str, Any]:
    slices = {name: one["value"] for name, one in facts["slices"].items() if one["value"] is not None}
    return {"value": facts["value"], "low": facts["low"], "high": facts["high"], "slices": slices}


def render(lines: Sequence[LeaderboardRow], form: str = "table") -> str:
    """The lines in one of FORMATS, without the last line's end; table is plain text.

    In CSV a text that a spreadsheet would take for a formula has a ' before it.
    """
    if form == "json":
        return json.dumps([asdict(line) for line in lines], indent=2, sort_keys=True)
    if form == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for line in lines:
            kept = {**asdict(line), **{name: " ".join(getattr(line, name)) for name in _LISTS}}
            told = {name: no_formula(cell) if isinstance(cell, str) else cell for name, cell in kept.items()}
            writer.writerow({**told, "slices": json.dumps(line.slices, sort_keys=True)})
        return out.getvalue().removesuffix("\n")
    if form == "md":
        return markdown_table(_HEAD, [_cells(line) for line in lines])
    if form == "table":
        return text_table(_HEAD, [_cells(line) for line in lines])
    raise AskError(f"unknown format '{form}' (there are: {', '.join(FORMATS)}).")


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns set off by spaces."""
    whole = [head, *([_printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in whole) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in whole
    )


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells are shown as they are: what means something to Markdown is escaped."""
    cells = [[re.sub(r"([\\`*\[\]<>|~$&!])", r"\\\1", _printable(cell)) for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in (head, *cells)]
    return "\n".join([lines[0], "|" + " --- |" * len(head), *lines[1:]])


def _printable(text: str) -> str:
    """The text on one line; what could steer a terminal becomes a question mark."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


_HEAD = (
    "model",
    "suite",
    "metric",
    "value",
    "95% interval",
    "n",
    "tier",
    "rank",
    "slices",
    "p50 ms",
    "size",
    "front",
    "data",
    "date",
    "verdict",
)


def _cells(line: LeaderboardRow) -> tuple[str, ...]:
    return (
        line.name + (" (baseline)" if line.is_baseline else ""),
        line.suite,
        line.metric,
        f"{line.value:.1%}",
        f"{line.low:.1%} to {line.high:.1%}",
        _items_in_words(line),
        line.tier or "-",
        line.ranks or "-",
        ", ".join(f"{name} {value:.1%}" for name, value in line.groups.items()) or "-",
        "-" if line.p50_ms is None else ms_words(line.p50_ms),
        "-" if line.size_bytes is None else size_words(line.size_bytes),
        ", ".join(line.fronts) or "-",
        "-" if line.train_dataset is None else short(line.train_dataset),
        line.date[:10],
        line.verdict or "-",
    )


def _items_in_words(line: LeaderboardRow) -> str:
    counts = ((line.errors, "failed"), (line.leaked, "learned from"))
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    return str(line.n) + (f" ({told})" if told else "")


def short(name: str) -> str:
    """A reference by its kind and 12 digits; any other name as it is."""
    try:
        return parse_ref(name).short
    except AskError:
        return name


def ms_words(ms: float) -> str:
    """Milliseconds as a table shows them: three digits, thousands set off."""
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"


def size_words(size_bytes: int) -> str:
    """A size in MB, or in kB below a tenth of one."""
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:,.1f} kB"
