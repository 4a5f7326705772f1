"""Ledgers as the agent writes them, and what an index of them must say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opswright.core.principal import Principal
from opswright.record.index import Criteria, LedgerIndex
from opswright.record.ledger import Entry, Ledger, Phase
from opswright.record.run_state import RunState

WHO = Principal("ada", ("operator",), "test")
REPORT = "eval-report:" + "a" * 64


def plain_state(ledger: Ledger, run: str) -> RunState:
    return RunState.of(run, (record for record in ledger.records() if record.run == run))


def holds_all(index: LedgerIndex, ledger: Ledger) -> bool:
    """Whether the index gives every record and every run's state as reading everything does."""
    records = list(ledger.records())
    runs = dict.fromkeys(record.run for record in records if record.run)
    return (
        index.refresh() == len(records)
        and index.page(Criteria.of(), len(records) + 1) == records[::-1]
        and all(index.run_state(run) == plain_state(ledger, run) for run in runs)
        and [row.run for row in index.rows()] == list(runs)[::-1]
    )


def numbers(index: LedgerIndex, **filters: str) -> list[int]:
    return [record.seq for record in index.page(Criteria.of(**filters), 1000)]


def database_of(ledger: Ledger) -> Path:
    folder = ledger.folder.parent / "index"
    return folder / (folder / "current").read_text()


def append_run(ledger: Ledger, run: str, steps: int = 3) -> None:
    """A run as the agent records it."""
    plan = [{"id": f"s{n}", "skill": "work", "effect": "writes"} for n in range(steps)]
    entries = [
        Entry(Phase.PROPOSED, run, plan="p" * 64, effect="writes", detail={"goal": run, "steps": plan}),
        Entry(Phase.APPROVED, run, plan="p" * 64, detail={"how": "test"}),
    ]
    for step in plan:
        call: dict[str, Any] = {"run": run, "step": step["id"], "skill": "work", "effect": "writes"}
        entries += [
            Entry(Phase.RESERVED, **call, detail={"reserved": {"minutes": 1.0}}),
            Entry(
                Phase.INTENT,
                **call,
                request={"text": "x" * 100},
                detail={"idempotency_key": run + step["id"]},
            ),
            Entry(Phase.SETTLED, **call, detail={"spent": {"minutes": 0.5}}),
            Entry(Phase.DONE, **call, result={"n": 1}, detail={"seconds": 1.0}),
        ]
    entries.append(Entry(Phase.DONE, run, detail={"status": "done", "message": "every step is done"}))
    ledger.append_all(entries, WHO)
