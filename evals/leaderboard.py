"""The leaderboard: every measured model and its baselines, best first."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ..core.artifacts import ArtifactRef, ArtifactStore, parse_ref
from ..core.errors import AskError


@dataclass(frozen=True)
class Standing:
    """One line: a model (or a baseline) on one suite, `value` with its 95 % interval."""

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


COLUMNS = tuple(Standing.__dataclass_fields__)


def standings(
    store: ArtifactStore, suite: str | None = None, verdicts: Mapping[str, str] | None = None
) -> list[Standing]:
    """A line for the newest report of each model, and for each baseline, by suite and falling value.

    `verdicts` is the last gate decision on each report, by its reference. A model that was measured on
    another number of items, or another version of the suite, has a line for each.
    """
    lines: dict[tuple[Any, ...], Standing] = {}
    for ref, manifest in store.list("eval-report"):  # newest first
        facts = manifest["facts"]
        if (suite is not None and facts["suite"] != suite) or facts.get("value") is None:
            continue
        for line in _lines_of(store, ref, facts, (verdicts or {}).get(ref)):
            who = line.model if line.kind != "baseline" else (line.model, line.train_dataset)
            lines.setdefault((who, line.suite_digest, line.n), line)
    return sorted(lines.values(), key=lambda line: (line.suite, -line.value, line.model, line.n))


def _lines_of(
    store: ArtifactStore, ref: ArtifactRef, facts: Mapping[str, Any], verdict: str | None
) -> Iterable[Standing]:
    date = datetime.fromtimestamp((store.folder(ref) / "artifact.json").stat().st_mtime, UTC)
    kind = str(facts["model"]).partition(":")[0]
    common = {
        "suite": facts["suite"],
        "suite_digest": facts["suite_digest"],
        "metric": facts["metric"],
        "n": facts["n"],
        "train_dataset": facts.get("train_dataset"),
        "date": date.isoformat(timespec="seconds"),
        "report": str(ref),
    }
    yield Standing(
        **common,
        **_figures(facts),
        model=facts["model"],
        kind="endpoint" if kind in ("http", "https") else kind,
        errors=facts.get("errors", 0),
        p50_ms=facts["latency_ms"]["p50"],
        p95_ms=facts["latency_ms"]["p95"],
        size_bytes=facts.get("size_bytes"),
        verdict=verdict,
    )
    for name, figures in facts["baselines"].items():
        yield Standing(
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


def _figures(facts: Mapping[str, Any]) -> dict[str, Any]:
    slices = {name: one["value"] for name, one in facts["slices"].items() if one["value"] is not None}
    return {"value": facts["value"], "low": facts["low"], "high": facts["high"], "slices": slices}


def render(lines: Sequence[Standing], form: str = "table") -> str:
    """The lines as table (plain text), markdown, json or csv."""
    if form == "json":
        return json.dumps([asdict(line) for line in lines], indent=2, sort_keys=True)
    if form == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for line in lines:
            writer.writerow({**asdict(line), "slices": json.dumps(line.slices, sort_keys=True)})
        return out.getvalue()
    rows = [_HEAD, *(_cells(line) for line in lines)]
    if form == "markdown":
        head, *body = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([head, "|" + " --- |" * len(_HEAD), *body])
    if form == "table":
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
        return "\n".join(
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
        )
    raise AskError(f"unknown form '{form}' (there are: table, markdown, json, csv).")


_HEAD = (
    "model",
    "suite",
    "metric",
    "value",
    "95% interval",
    "n",
    "slices",
    "batch p50 ms",
    "size",
    "data",
    "date",
    "verdict",
)


def _cells(line: Standing) -> tuple[str, ...]:
    groups = {
        k: v for k, v in line.slices.items() if k.endswith("_domains")
    }  # single domains: in json and csv
    return (
        _short(line.model) + (" (baseline)" if line.kind == "baseline" else ""),
        line.suite,
        line.metric,
        f"{line.value:.1%}",
        f"{line.low:.1%} to {line.high:.1%}",
        str(line.n) + (f" ({line.errors} failed)" if line.errors else ""),
        ", ".join(f"{name} {value:.1%}" for name, value in groups.items()) or "-",
        "-" if line.p50_ms is None else f"{line.p50_ms:.1f}",
        "-" if line.size_bytes is None else f"{line.size_bytes / 1e6:.1f} MB",
        "-" if line.train_dataset is None else _short(line.train_dataset),
        line.date[:10],
        line.verdict or "-",
    )


def _short(name: str) -> str:
    try:
        return parse_ref(name).short
    except AskError:
        return name
