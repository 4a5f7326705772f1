"""The plans and the suite of a project, as text that a person reads and changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data.profile import ROW_TOKENS, SourceProfile
from ...data.sample import Task

_STEPS_WANTED, _STEPS_FOR_TEXT = 500, 1500  # to learn labels, and to learn to write
_BATCH = 64
_MOST_EPOCHS, _LEAST_EPOCHS = 40, 3
_EXACT_TASKS = ("classify", "choose")
_BUDGET_MINUTES = 60
_LONGER_ROWS = 0.02  # may be longer than max_tokens: the training leaves out at most 5 %
_SAFE_SHARE = 0.75  # of the longest row: characters say only about how many tokens they make


@dataclass(frozen=True)
class ProjectFacts:
    """What the plans of a project are made from.

    source: the training rows, as the plan names them; columns: their mapping; metric and bar: the gate's;
    answer_tokens: about the longest answer.
    """

    name: str
    task: Task
    source: str
    columns: Mapping[str, Any]
    profile: SourceProfile
    metric: str
    bar: float | None
    bar_says: str
    answer_tokens: int
    held_out: str | None = None

    @property
    def epochs(self) -> int:
        """Passes that come to about as many steps as a small model needs."""
        steps = _STEPS_WANTED if self.task in _EXACT_TASKS else _STEPS_FOR_TEXT
        wanted = steps * _BATCH / max(self.profile.rows, 1)
        return min(max(round(wanted), _LEAST_EPOCHS), _MOST_EPOCHS)

    @property
    def row_tokens(self) -> int:
        """The least of some lengths, in tokens, that all but a few rows keep to, by an estimate."""
        over = self.profile.rows_over
        return next((size for size in ROW_TOKENS if over[size] <= self._few_rows), ROW_TOKENS[-1])

    @property
    def most_chars(self) -> int | None:
        """Characters that a row may have, where too many rows are longer than the longest that is trained."""
        profile = self.profile
        if profile.rows_over[self.row_tokens] <= self._few_rows:
            return None
        chars = max(profile.asked.p95 + profile.answered.p95, 1)
        tokens = max(profile.asked_tokens.p95 + profile.answered_tokens.p95, 1)
        return int(_SAFE_SHARE * self.row_tokens * chars / tokens)

    @property
    def length_rule(self) -> str:
        """How long rows may be, how many are longer, and what becomes of those."""
        size = self.row_tokens
        over = self.profile.rows_over[size]
        if not over:
            return f"max_tokens is {size:,}; no row is longer, by an estimate"
        said = f"max_tokens is {size:,}; about {over:,} of {self.profile.rows:,} are longer"
        if self.most_chars is not None:
            return f"{said}, so curate leaves out what is over {self.most_chars:,} characters (filters)"
        return f"{said} and are left out of the training"

    @property
    def _few_rows(self) -> float:
        return _LONGER_ROWS * self.profile.rows


def ship_plan(facts: ProjectFacts) -> str:
    """plans/ship.yaml: curate, train, judge, build, guard, deploy."""
    suite = f"../suites/{facts.name}.yaml"
    gate: dict[str, Any] = {"suite": suite, "metric": facts.metric}
    if facts.bar is not None:
        gate["min"] = facts.bar
    exact = facts.task in _EXACT_TASKS
    source = _shown(Path(facts.profile.source).name)
    head = [
        f"# Learns {source} ({facts.profile.rows:,} rows, {facts.task}) from nothing,",
        "# is judged on rows it never saw, and answers behind guardrails. Run: opswright run plans/ship.yaml",
        "# A real base instead of the tiny one: base: hf:owner/name@COMMIT, or a folder with its weights.",
        f"# The bar: {facts.bar_says}",
        f"# Rows: {facts.length_rule}.",
    ]
    return _text(
        head,
        {
            "goal": f"Ship {facts.name}",
            "budget": {"minutes": _BUDGET_MINUTES} if exact else {"usd": 0},
            "gates": {"release": gate},
            "steps": _steps(facts, suite, "onnx-int8" if exact else "onnx-fp32"),
        },
    )


def _steps(facts: ProjectFacts, suite: str, target: str) -> dict[str, Any]:
    """The steps of a plan that ships; suite: its file as the plan names it; target: the engine."""
    curated = {
        "source": facts.source,
        "task": facts.task,
        "columns": dict(facts.columns),
        "golden": "${golden.dataset}",
        "validation_fraction": 0.05,
    }
    if facts.most_chars is not None:
        curated["filters"] = [f"length:max_chars={facts.most_chars}"]
    return {
        "golden": {"skill": "golden", "with": {"suite": suite}},
        "data": {"skill": "curate", "with": curated},
        "model": {
            "skill": "finetune",
            "with": {
                "data": "${data.dataset}",
                "base": "tiny",
                "epochs": facts.epochs,
                "max_tokens": facts.row_tokens,
            },
        },
        "eval": {
            "skill": "evaluate",
            "with": {
                "model": "${model.checkpoint}",
                "suite": suite,
                "max_new_tokens": facts.answer_tokens,
            },
            "gate": "release",
        },
        "engine": {
            "skill": "build-engine",
            "with": {
                "model": "${model.checkpoint}",
                "target": target,
                "parity_suite": suite,
                "max_new_tokens": facts.answer_tokens,
            },
        },
        "rails": {
            "skill": "guardrails",
            "with": {
                "config": "../guardrails/config",
                "must_block": "../guardrails/must_block.jsonl",
                "must_pass": "../guardrails/must_pass.jsonl",
            },
        },
        "live": {
            "skill": "deploy",
            "with": {
                "bundle": "${engine.bundle}",
                "guardrails": "${rails.guardrails}",
                "endpoint": facts.name,
            },
        },
    }


def retrain_plan(facts: ProjectFacts) -> str:
    """plans/retrain.yaml: the same loop again, held against what is served, as a canary first."""
    import yaml

    plan = yaml.safe_load(ship_plan(facts))
    plan["goal"] = f"Retrain {facts.name} and release it if it is no worse than what is served"
    plan["gates"]["release"] |= {"against": "stable", "endpoint": facts.name, "max_drop": 0.05}
    plan["steps"]["live"]["with"]["canary_percent"] = 10
    plan["steps"]["promote"] = {"skill": "promote", "with": {"endpoint": facts.name}, "after": ["live"]}
    head = [
        "# Trains again on the source as it is now and judges against what is served; then a tenth of the",
        "# sessions meet it, and everybody once its probes hold. Run: opswright run plans/retrain.yaml",
        "# After a drift alarm the skill `retrain` proposes a plan that mixes new rows with earlier ones.",
    ]
    return _text(head, plan)


def suite_text(facts: ProjectFacts, golden: int, digest: str, tags: list[str]) -> str:
    """suites/NAME.yaml: the golden set, how it is scored, and its slices."""
    suite: dict[str, Any] = {
        "summary": f"Rows of {Path(facts.profile.source).name} that no model of this project is trained on.",
        "task": facts.task,
        "samples": {"file": "../data/golden.jsonl"},
        "max_new_tokens": facts.answer_tokens,
        "min_items": min(golden, 20),
    }
    if tags:
        suite["slices"] = {"by": tags}
    head = [
        f"# {golden:,} samples, SHA-256 {digest[:16]}. The first scorer decides; `scorers:` names others.",
        "# Do not train on them: curate keeps them out.",
    ]
    return _text(head, suite)


def relative(path: Path, to: Path) -> str:
    """A path as a plan in folder `to` names it: relative inside the project, whole outside."""
    folder, whole = to.resolve(), path.resolve()
    inside = whole.is_relative_to(folder.parent)
    return Path(os.path.relpath(whole, folder)).as_posix() if inside else whole.as_posix()


def _shown(name: str) -> str:
    """A file's name on one line of a comment."""
    return name if name.isprintable() else repr(name)


def _text(head: list[str], value: Mapping[str, Any]) -> str:
    import yaml

    body = yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=110)
    return "\n".join([*head, body])
