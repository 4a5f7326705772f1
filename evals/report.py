"""An eval report: the figures of one run, and the report as it is stored and read back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..core.artifacts import Artifact
from ..data.text import label_form
from .intervals import mean_interval
from .runner import EvalResult, SampleResult, read_lines

ITEMS, REPORT, BASELINES = "items.jsonl", "report.json", "baselines.json"
VARIANTS = "variants.json"

TRIVIAL_BASELINES = frozenset(("majority", "constant", "copy", "passage", "first_choice", "longest_choice"))
"""What a model that learned nothing would do."""
_CONFUSIONS = 20  # that a report shows
_FIELDS = 200  # that it shows


def figure(
    items: Sequence[SampleResult], metric: str = "exact_match", is_binary: bool = True
) -> dict[str, Any]:
    """The mean score with its 95 % interval: {n, value, low, high}; value None without scored items.

    n: items that have a score. Wilson's interval for a share, Student's t for any other mean and for items
    that come in groups.
    """
    scored = [item for item in items if metric in item.scores]
    scores = [item.scores[metric] for item in scored]
    low, high = mean_interval(scores, is_binary, [item.group for item in scored])
    return {
        "n": len(scores),
        "value": sum(scores) / len(scores) if scores else None,
        "low": low,
        "high": high,
    }


def by_slice(measured: EvalResult) -> dict[str, dict[str, Any]]:
    """The figure of each slice, by the suite's first scorer."""
    is_binary = measured.scorers.get(measured.metric, True)
    return {
        name: figure(measured.within(name), measured.metric, is_binary) for name in sorted(measured.slices)
    }


def metrics_of(measured: EvalResult) -> dict[str, dict[str, Any]]:
    """The figure of each scorer, with how many items it did not score and how many scores were faulty."""
    return {
        name: {
            **figure(measured.items, name, is_binary),
            "binary": is_binary,
            "unscored": sum(name not in item.scores for item in measured.items),
            "faults": sum(name in item.faults for item in measured.items),
        }
        for name, is_binary in measured.scorers.items()
    }


def best_trivial(values: Mapping[str, float | None]) -> str | None:
    """Of baselines by their values, the best of those that learned nothing; None without one."""
    trivial = {
        name: value for name, value in values.items() if name in TRIVIAL_BASELINES and value is not None
    }
    return max(sorted(trivial), key=lambda name: trivial[name]) if trivial else None


def latencies(items: Sequence[SampleResult]) -> dict[str, float | None]:
    """Median and 95th percentile of what an asker waited, in ms; None without answers."""
    waited = sorted(item.latency_ms for item in items if item.latency_ms is not None)
    if not waited:
        return {"p50": None, "p95": None}
    return {
        name: waited[min(len(waited) - 1, int(q * len(waited)))] for name, q in (("p50", 0.5), ("p95", 0.95))
    }


def facts_of(
    measured: EvalResult,
    of: int,
    baselines: Mapping[str, EvalResult],
    groups: Sequence[str] = (),
) -> dict[str, Any]:
    """What a report says of itself in its manifest.

    of: items the suite has. groups: slices that the suite, or the asker, gave a name. Among the facts is
    `trivial`, the best of the baselines that learned nothing.
    """
    metrics = metrics_of(measured)
    beside = {
        name: {**figure(one.items, one.metric, one.scorers[one.metric]), "slices": by_slice(one)}
        for name, one in baselines.items()
    }
    whole = metrics[measured.metric]
    return {
        "model": measured.model,
        "suite": measured.suite,
        "suite_digest": measured.suite_digest,
        "task": measured.task,
        "metric": measured.metric,
        **{name: whole[name] for name in ("n", "value", "low", "high", "unscored", "faults")},
        "metrics": metrics,
        "scorers": dict(measured.scorers),
        "of": of,
        "errors": measured.errors,
        "cut": measured.cut,
        "refused": measured.refused,
        "leaked": measured.leaked,
        "slices": by_slice(measured),
        "groups": list(groups),
        "baselines": beside,
        "trivial": best_trivial({name: one["value"] for name, one in beside.items()}),
        "latency_ms": latencies(measured.items),
        **({"judges": measured.judges} if measured.judges else {}),
        **({"embedders": measured.embedders} if measured.embedders else {}),
        **({"totals": dict(measured.totals)} if measured.totals else {}),
        **({"paraphrases": dict(measured.paraphrases)} if measured.paraphrases else {}),
    }


def details_of(measured: EvalResult) -> dict[str, Any]:
    """The figures that only the report's own page has."""
    wrong = [(item.expected, item.got) for item in measured.items if not item.is_correct(measured.metric)]
    found: dict[str, Any] = {
        "metrics": metrics_of(measured),
        "failures": sorted({item.error for item in measured.items if item.error})[:20],
        "faults": sorted({fault for item in measured.items for fault in item.faults.values()})[:20],
        "confusions": [{"expected": e, "got": g, "n": n} for e, g, n in confusions(wrong)],
    }
    if measured.task == "classify":
        expected, got = [item.expected for item in measured.items], [item.got for item in measured.items]
        found["macro_f1"] = macro_f1(expected, got)
    if measured.task == "extract":
        found["fields"] = field_figures((item.expected, item.got) for item in measured.items)
    return found


def macro_f1(expected: Sequence[str], got: Sequence[str | None]) -> float:
    """Mean over the labels of `expected` of each one's F1, 0 to 1; 0 for no items."""
    wanted = [label_form(label) for label in expected]
    given = [None if answer is None else label_form(answer) for answer in got]
    right = Counter(w for w, g in zip(wanted, given, strict=True) if w == g)
    support, claimed = Counter(wanted), Counter(given)
    if not support:
        return 0.0
    return sum(2 * right[label] / (n + claimed[label]) for label, n in support.items()) / len(support)


def confusions(wrong: Iterable[tuple[str, str | None]]) -> list[tuple[str, str, int]]:
    """Of wrong answers, as (expected, got), those met most often with their number; ties by alphabet."""
    met = Counter((expected, "(no answer)" if got is None else got) for expected, got in wrong)
    ordered = sorted(met.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(w, g, n) for (w, g), n in ordered[:_CONFUSIONS]]


def field_figures(pairs: Iterable[tuple[str, str | None]]) -> dict[str, dict[str, Any]]:
    """Precision, recall and F1 of each JSON field over (expected, got) texts; `n` is how often it is wanted.

    What is no JSON claims no field. The fields wanted most often come first, 200 at most.
    """
    from .scorers.structured import NotJson, fields, read_json

    wanted, claimed, right = Counter[str](), Counter[str](), Counter[str]()
    for expected, got in pairs:
        leaves = []
        for text in (expected, got or ""):
            try:
                leaves.append(Counter(fields(read_json(text))))
            except NotJson:
                leaves.append(Counter())
        wanted.update(path for path, _ in leaves[0].elements())
        claimed.update(path for path, _ in leaves[1].elements())
        right.update(path for path, _ in (leaves[0] & leaves[1]).elements())
    return {
        path: {
            "n": n,
            "precision": right[path] / claimed[path] if claimed[path] else None,
            "recall": right[path] / n,
            "f1": 2 * right[path] / (n + claimed[path]),
        }
        for path, n in sorted(wanted.items(), key=lambda pair: (-pair[1], pair[0]))[:_FIELDS]
    }


def read_report(artifact: Artifact) -> EvalResult:
    """The measured items of a stored report."""
    facts = artifact.facts
    known: dict[str, Any] = {}
    if "scorers" in facts:  # not in reports of version 0.1; canonical JSON keeps no order
        metric = str(facts["metric"])
        known["scorers"] = {metric: facts["scorers"][metric], **facts["scorers"]}
    if VARIANTS in artifact.files:
        lines = artifact.read_json(VARIANTS)
        known["variants"] = {name: tuple(map(SampleResult.from_line, some)) for name, some in lines.items()}
    return EvalResult(
        model=str(facts["model"]),
        suite=str(facts["suite"]),
        suite_digest=str(facts["suite_digest"]),
        slices=tuple(facts["slices"]),
        items=read_lines((artifact.path / ITEMS).read_bytes()),
        leaked=facts.get("leaked"),
        task=facts.get("task", "classify"),
        judges=facts.get("judges", {}),
        totals=facts.get("totals", {}),
        embedders=facts.get("embedders", {}),
        paraphrases=facts.get("paraphrases", {}),
        **known,
    )
