"""The index answers what the ledger says, however it is damaged, shared, or left behind."""

from __future__ import annotations

from opswright.core.workspace import Workspace
from opswright.record.index import LedgerIndex
from opswright.record.ledger import Ledger
from opswright.record.run_state import RunState


def plain_state(workspace: Workspace, run: str) -> RunState:
    return RunState.of(run, (r for r in Ledger.of(workspace).records() if r.run == run))


def test_a_run_is_folded_from_its_own_records(workspace: Workspace, scene) -> None:  # type: ignore[no-untyped-def]
    scene.ship("one")
    scene.propose("two", scene.plan("Another"))
    index = LedgerIndex.of(workspace)
    assert index is LedgerIndex.of(workspace)
    assert index.run_state("one") == plain_state(workspace, "one")
    assert index.run_state("two") == plain_state(workspace, "two")
    assert index.run_state("three") is None
    assert [(row.run, row.status, row.goal) for row in index.rows()] == [
        ("two", "waiting", "Another"),
        ("one", "done", "Ship an intent router"),
    ]
    assert index.rows(limit=1)[0].last_seq == Ledger.of(workspace).head()[0]
