"""A benchmark report as it is stored and read back, and all of a workspace's as one table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from ...core.artifact_refs import BenchmarkReportRef, parse_ref
from ...core.artifacts import Artifact, ArtifactStore
from ...core.errors import AskError
from ..leaderboard import markdown_table, ms_words, short, text_table
from .figures import LATENCIES, QUANTILES, RATES, Samples, headline
from .level import Level
from .streamed import RequestRecord

REPORT, REQUESTS, PAGE, PLOT = "report.json", "requests.jsonl", "report.html", "report.png"


@dataclass(frozen=True)
class LoadReport:
    """One endpoint's levels, what it was asked, and each request; `name` is what people call it."""

    name: str
    workload: Mapping[str, Any]
    levels: tuple[Mapping[str, Any], ...]
    records: Mapping[int, Sequence[RequestRecord]]
    is_complete: bool
    session: str = ""

    def is_beside(self, other: LoadReport) -> bool:
        """Whether both were measured in turns, in one step."""
        return bool(self.session) and self.session == other.session

    @cached_property
    def samples(self) -> dict[int, Samples]:
        """The whole answers of each concurrency."""
        return {
            concurrency: Samples([one for one in some if one.is_whole], concurrency)
            for concurrency, some in self.records.items()
        }

    @property
    def mean_tokens(self) -> float:
        """Output tokens of a whole answer; 0 without one."""
        completed = sum(level["completed"] for level in self.levels)
        return sum(level["output_tokens"] for level in self.levels) / completed if completed else 0.0

    def figure(self, concurrency: int, name: str, label: str) -> float | None:
        """A level's figure; label: a quantile of a latency, empty for a rate."""
        (level,) = [one for one in self.levels if one["concurrency"] == concurrency]
        found = level[name]
        return None if found is None else found[label or "value"]


def request_lines(levels: Sequence[Level]) -> bytes:
    """Every request, a line of JSON each."""
    rows = [{"concurrency": level.concurrency, **one.document()} for level in levels for one in level.records]
    return b"".join(json.dumps(row, sort_keys=True).encode() + b"\n" for row in rows)


def read_load_report(artifact: Artifact) -> LoadReport:
    """A stored report."""
    records: dict[int, list[RequestRecord]] = {}
    for line in (artifact.path / REQUESTS).read_bytes().splitlines():
        row = json.loads(line)
        records.setdefault(row.pop("concurrency"), []).append(RequestRecord.from_document(row))
    facts = artifact.facts
    name = f"{short(str(facts['model']))} ({facts['server']['name']}), {artifact.ref.short}"
    return LoadReport(
        name,
        facts["workload"],
        tuple(facts["levels"]),
        records,
        bool(facts["is_complete"]),
        str(facts.get("session", "")),
    )


@dataclass(frozen=True)
class LoadRow:
    """One concurrency of one measured endpoint, as the table of all has it.

    intervals: (low, high) at 95 % of the figures that have one, by their names here.
    """

    model: str
    server: str
    concurrency: int
    completed: int
    failed: int
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    tpot_p50_ms: float | None
    itl_p95_ms: float | None
    e2el_p50_ms: float | None
    e2el_p95_ms: float | None
    e2el_p99_ms: float | None
    output_tokens_per_s: float
    requests_per_s: float
    counted_by: str
    workload: str
    is_complete: bool
    report: str
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def load_board(store: ArtifactStore) -> list[LoadRow]:
    """A row for each concurrency of the newest report of each endpoint and load, by load and speed."""
    found: dict[tuple[str, str, str], list[LoadRow]] = {}
    for ref, manifest in store.list(BenchmarkReportRef.kind):  # newest first
        facts = manifest["facts"]
        rows = [_row(str(ref), facts, level) for level in facts["levels"]]
        if rows:
            found.setdefault((rows[0].model, rows[0].server, rows[0].workload), rows)
    every = [row for rows in found.values() for row in rows]
    return sorted(every, key=lambda row: (row.workload, row.concurrency, -row.output_tokens_per_s))


def _row(report: str, facts: Mapping[str, Any], level: Mapping[str, Any]) -> LoadRow:
    return LoadRow(
        model=str(facts["model"]),
        server=facts["server"]["name"],
        **headline(level),
        itl_p95_ms=None if level["itl_ms"] is None else level["itl_ms"]["p95"],
        counted_by=" and ".join(level["counted_by"]),
        workload=f"{facts['prompts']}, {facts['workload']['output_tokens']} tokens",
        is_complete=bool(facts["is_complete"]),
        report=report,
        intervals=_intervals(level),
    )


def _intervals(level: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    found = {
        f"{name.removesuffix('ms')}{label}_ms": (
            level[name].get(f"{label}_low"),
            level[name].get(f"{label}_high"),
        )
        for name in LATENCIES
        if level[name] is not None
        for label in QUANTILES
    }
    found |= {name: (level[name].get("low"), level[name].get("high")) for name in RATES}
    return {name: ends for name, ends in found.items() if None not in ends}


HEAD = (
    *("endpoint", "server", "load", "at a time", "whole", "failed", "TTFT p50", "p95", "TPOT p50", "ITL p95"),
    *("E2EL p50", "p95", "p99 ms", "tokens/s", "requests/s", "report"),
)


def board_cells(row: LoadRow) -> tuple[str, ...]:
    """A row as a table for people has it."""
    times = (row.ttft_p50_ms, row.ttft_p95_ms, row.tpot_p50_ms, row.itl_p95_ms)
    times += (row.e2el_p50_ms, row.e2el_p95_ms, row.e2el_p99_ms)  # type: ignore[assignment]
    return (
        short(row.model),
        row.server,
        row.workload,
        str(row.concurrency),
        str(row.completed) + ("" if row.is_complete else " (stopped)"),
        str(row.failed),
        *("-" if one is None else ms_words(one) for one in times),
        ms_words(row.output_tokens_per_s) + ("" if row.counted_by == "usage" else f" by {row.counted_by}"),
        ms_words(row.requests_per_s),
        short(row.report),
    )


def render_board(rows: Sequence[LoadRow], form: str = "table") -> str:
    """The table as `table`, `md`, or `json`; empty for none, but in JSON."""
    if form == "json":
        return json.dumps([asdict(row) for row in rows], indent=2, sort_keys=True)
    if not rows:
        return ""
    return (markdown_table if form == "md" else text_table)(HEAD, [board_cells(row) for row in rows])


def find_report(store: ArtifactStore, text: str) -> Artifact:
    """The benchmark report that a reference names, whole or cut after 6 or more digits; else AskError."""
    digits = text.partition(":")[2]
    refs = [str(ref) for ref, _ in store.list(BenchmarkReportRef.kind)]
    found = [ref for ref in refs if len(digits) >= 6 and ref.startswith(text)]
    if len(found) != 1:
        known = ", ".join(map(short, refs[:8])) or "none; `opswright benchmark URL --suite NAME` makes one"
        raise AskError(f"'{text}' names {len(found)} benchmark reports (there are: {known}).")
    return store.open(parse_ref(found[0]))
