"""A planner on the leaderboard: its figures as an eval report like that of any model."""

from __future__ import annotations

import json
from collections import defaultdict

from ....core.artifact_refs import EvalReportRef
from ....core.files import sha256_file
from ....core.workspace import Workspace
from .figures import KINDS, PlannerFigures
from .scoring import SENTENCES

METRIC = "right"


def save_report(workspace: Workspace, figures: PlannerFigures) -> EvalReportRef:
    """Keep the figures, with what each sentence led to, as suite `planning-<set>`."""
    low, high = figures.interval
    slices: dict[str, list[bool]] = defaultdict(list)
    for one in figures.outcomes:
        slices[f"kind={KINDS[one.kind].replace(' ', '_')}"].append(one.right)
        slices[f"manner={one.sentence.manner}"].append(one.right)
    named = sorted(name for name in slices if name.startswith("kind="))
    facts = {
        "suite": f"planning-{figures.name}",
        "suite_digest": sha256_file(SENTENCES / f"{figures.name}.yaml"),
        "model": f"planner:{figures.planner}",
        "kind": "planner",
        "metric": METRIC,
        "value": figures.right / figures.n,
        "low": low,
        "high": high,
        "n": figures.n,
        "errors": figures.fell_back,
        "slices": {
            name: {"value": sum(right) / len(right), "n": len(right)} for name, right in slices.items()
        },
        "groups": named,
        "latency_ms": {"p50": figures.quantile_s(0.5) * 1e3, "p95": figures.quantile_s(0.95) * 1e3},
        "size_bytes": None,
        "train_dataset": None,
        "baselines": {},
        "planner": figures.document(),
    }
    rows = [
        {
            "say": one.sentence.say,
            "expect": one.sentence.expect,
            "right": one.right,
            "got": one.got,
            "shown": one.shown,
            "tokens": one.tokens,
            "fell_back": one.fell_back,
        }
        for one in figures.outcomes
    ]
    store = workspace.artifacts
    with store.staging() as stage:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (stage / "sentences.jsonl").write_text("".join(lines), encoding="utf-8")
        return store.save(EvalReportRef, stage, facts, [])
