"""An eval report: the figures of one run, and the report as it is stored and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.artifacts import Artifact
from ..core.statistics import wilson
from .metrics import METRICS, confusions, macro_f1
from .runner import EvalResult, SampleResult, read_lines

ITEMS, REPORT, BASELINES = "items.jsonl", "report.json", "baselines.json"


def figure(items: Sequence[SampleResult], metric: str = "exact_match") -> dict[str, Any]:
    """A share with its 95 % Wilson interval: {n, value, low, high}; value None without items."""
    n, right = len(items), sum(item.is_correct(metric) for item in items)
    low, high = wilson(right, n)
    return {"n": n, "value": right / n if n else None, "low": low, "high": high}


def by_slice(measured: EvalResult, metric: str = "exact_match") -> dict[str, dict[str, Any]]:
    """The figure of each slice."""
    return {name: figure(measured.within(name), metric) for name in sorted(measured.slices)}


def latencies(items: Sequence[SampleResult]) -> dict[str, float | None]:
    """Median and 95th percentile of what an asker waited, in ms; None without answers."""
    waited = sorted(item.latency_ms for item in items if item.latency_ms is not None)
    if not waited:
        return {"p50": None, "p95": None}
    return {
        name: waited[min(len(waited) - 1, int(q * len(waited)))] for name, q in (("p50", 0.5), ("p95", 0.95))
    }


def facts_of(measured: EvalResult, of: int, baselines: Mapping[str, EvalResult]) -> dict[str, Any]:
    """What a report says of itself in its manifest; `of` is the number of items the suite has."""
    whole = figure(measured.items)
    return {
        "model": measured.model,
        "suite": measured.suite,
        "suite_digest": measured.suite_digest,
        "task": measured.task,
        "metric": "exact_match",
        **{name: whole[name] for name in ("n", "value", "low", "high")},
        "of": of,
        "errors": measured.errors,
        "cut": measured.cut,
        "refused": measured.refused,
        "leaked": measured.leaked,
        "slices": by_slice(measured),
        "baselines": {
            name: {**figure(one.items), "slices": by_slice(one)} for name, one in baselines.items()
        },
        "latency_ms": latencies(measured.items),
    }


def details_of(measured: EvalResult) -> dict[str, Any]:
    """The figures that only the report's own page has."""
    expected, got = [item.expected for item in measured.items], [item.got for item in measured.items]
    wrong = [(item.expected, item.got) for item in measured.items if not item.is_correct("exact_match")]
    return {
        "metrics": {name: figure(measured.items, name) for name in METRICS},
        "macro_f1": macro_f1(expected, got),
        "confusions": [{"expected": e, "got": g, "n": n} for e, g, n in confusions(wrong)],
        "failures": sorted({item.error for item in measured.items if item.error})[:20],
    }


def read_report(artifact: Artifact) -> EvalResult:
    """The measured items of a stored report."""
    facts = artifact.facts
    return EvalResult(
        model=str(facts["model"]),
        suite=str(facts["suite"]),
        suite_digest=str(facts["suite_digest"]),
        slices=tuple(facts["slices"]),
        items=read_lines((artifact.path / ITEMS).read_bytes()),
        leaked=facts.get("leaked"),
        task=facts.get("task", "classify"),
    )
