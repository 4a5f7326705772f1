"""What a run leaves is its owner's to read, whatever the umask allows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.record.index import LedgerIndex


@pytest.fixture(params=[0o000, 0o022])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_records_plans_and_events_are_for_their_owner_alone(agent: Any, plan_file: Path, umask: int) -> None:
    one: Agent = agent()
    proposal = one.plan_for(Ask("plan_file", str(plan_file)))
    one.start(proposal, Consent(proposal.plan.id, "test"))
    LedgerIndex.of(one.workspace).refresh()
    root = one.workspace.root
    private = [root / name for name in ("ledger", "plans", "receipts", "runs", "index")]
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in private} == {
        path.name: "0o700" for path in private
    }
    shut = [*root.glob("checkpoints.sqlite*"), *root.glob("runs/*/events.jsonl")]
    shut += [path for folder in private if folder.name != "runs" for path in folder.rglob("*")]
    kinds = {path.suffix for path in shut if path.is_file()}
    assert {".sqlite", ".jsonl", ".json"} <= kinds
    open_to_others = [path for path in shut if path.is_file() and path.stat().st_mode & 0o077]
    assert not open_to_others
