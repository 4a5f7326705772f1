"""Runs and datasets in a record, for tests of questions about them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opswright.agents.memory import MemoryIndex, QuestionFilters
from opswright.agents.memory.answer import FactFinder
from opswright.agents.memory.facts import fact_finder
from opswright.core.artifact_refs import DatasetRef
from opswright.core.principal import Principal
from opswright.core.workspace import Workspace
from opswright.record.ledger import Entry, Ledger, Phase
from opswright.skills import load_registry

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

ADA = Principal("ada", ("releaser",), "test")
ROW = {"name": "exact_match on old", "decision": "NO_GO", "message": "shown to be below 85.0%", "got": 0.41}


def refused_run(workspace: Workspace, run: str = "run-1", goal: str = "Ship the shop's router") -> None:
    """Record a run whose gate refuses the model."""
    steps = [
        {"id": "eval", "skill": "evaluate", "effect": "reads"},
        {"id": "gate", "skill": "gate", "effect": "reads"},
    ]
    verdict = {"decision": "NO_GO", "rows": [ROW], "notes": []}
    Ledger.of(workspace).append_all(
        [
            Entry(Phase.PROPOSED, run=run, plan="a" * 64,
                  detail={"goal": goal, "steps": steps, "source": "plan.yaml"}),
            Entry(Phase.APPROVED, run=run, plan="a" * 64, detail={"how": "prompt"}),
            Entry(Phase.INTENT, run=run, step="gate", skill="gate", effect="reads",
                  request={"suite": "shop"}),
            Entry(Phase.DONE, run=run, step="gate", skill="gate", effect="reads",
                  result={"verdict": verdict, "model": "checkpoint:" + "c" * 64}),
            Entry(Phase.DONE, run=run,
                  detail={"status": "done", "message": "the gate says NO_GO", "exit_code": 3}),
        ],
        ADA,
    )  # fmt: skip


def dataset(workspace: Workspace, example: str, run: str = "run-2") -> None:
    """Record a dataset of which a row was left out."""
    with workspace.artifacts.staging() as folder:
        card = {
            "task": "classify", "rows": 40, "train_rows": 36, "validation_rows": 4, "leaked": {"verbatim": 2},
            "dropped": {"near_duplicate": {"rows": 7,
                        "examples": [{"where": "tickets row 3", "text": example}]}},
        }  # fmt: skip
        (folder / "card.json").write_text(json.dumps(card))
        ref = workspace.artifacts.save(DatasetRef, folder, {"rows": 40})
    Ledger.of(workspace).append_all(
        [
            Entry(Phase.INTENT, run=run, step="data", skill="curate", effect="writes",
                  request={"source": "tickets.csv"}),
            Entry(Phase.DONE, run=run, step="data", skill="curate", effect="writes", result={"dataset": ref},
                  artifacts={"dataset": ref}),
        ],
        ADA,
    )  # fmt: skip


def known(workspace: Workspace) -> FactFinder:
    return fact_finder(workspace, load_registry())


def asked(workspace: Workspace, question: str, **filters: Any) -> list[tuple[str, int]]:
    with MemoryIndex(workspace) as index:
        found = index.search(question, QuestionFilters(**filters))
    return [(passage.kind, passage.seq) for passage in found.passages]
