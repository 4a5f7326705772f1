"""What was spent, by whom, on what: told by the ledger alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.core.principal import Principal
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.record.ledger import Entry, Ledger, Phase
from opswright.record.spending import SpendKey, spend_report

ADA = Principal("ada", ("operator",), "test")
RIA = Principal("ria", ("releaser",), "test")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(load_settings(home=tmp_path / "ws"))


def step(phase: Phase, run: str, name: str, skill: str, **detail: Any) -> Entry:
    return Entry(phase, run=run, step=name, skill=skill, effect="writes", plan="p", detail=detail)


def propose(ledger: Ledger, run: str, who: Principal, **detail: Any) -> None:
    ledger.append_all([Entry(Phase.PROPOSED, run=run, plan="p", detail=detail)], who)


def attempt(
    ledger: Ledger, run: str, skill: str, who: Principal, spent: dict[str, Any], **request: Any
) -> None:
    begun = Entry(Phase.INTENT, run=run, step=skill, skill=skill, request=request)
    settled = step(Phase.SETTLED, run, skill, skill, spent=spent)
    ledger.append_all([step(Phase.RESERVED, run, skill, skill, reserved=spent), begun, settled], who)


def by(workspace: Workspace, key: SpendKey, **window: str) -> dict[str, dict[str, Any]]:
    return {line["name"]: line for line in spend_report(workspace, key, **window).document()["lines"]}


def test_a_run_is_charged_to_who_proposed_it_and_not_to_who_carries_it_out(workspace: Workspace) -> None:
    ledger = Ledger.of(workspace)
    propose(ledger, "one", ADA)
    attempt(ledger, "one", "train", RIA, {"minutes": 30, "gpu_hours": 4, "usd": 12})
    propose(ledger, "two", RIA)
    attempt(ledger, "two", "deploy", ADA, {"minutes": 1, "usd": 1}, endpoint="support")
    people = by(workspace, "person")
    assert list(people) == ["ada", "ria"] and people["ada"]["usd"] == 12 and people["ria"]["usd"] == 1
    assert by(workspace, "skill")["train"]["gpu_hours"] == 4
    endpoints = by(workspace, "endpoint")
    assert endpoints["support"]["usd"] == 1 and endpoints["none"]["usd"] == 12
    total = spend_report(workspace).total.document()
    assert total["usd"] == 13 and total["minutes"] == 31 and total["attempts"] == 2


def test_what_is_reserved_and_not_settled_is_shown_apart_until_its_run_is_over(workspace: Workspace) -> None:
    ledger = Ledger.of(workspace)
    propose(ledger, "one", ADA)
    ledger.append_all([step(Phase.RESERVED, "one", "train", "train", reserved={"usd": 9})], ADA)
    ada = by(workspace, "person")["ada"]
    assert ada["usd"] == 0 and ada["reserved"]["usd"] == 9
    ledger.append_all([Entry(Phase.FAILED, run="one", detail={"status": "failed"})], ADA)
    assert by(workspace, "person")["ada"]["reserved"]["usd"] == 9, "a run that failed may be resumed"
    ledger.append_all([Entry(Phase.FAILED, run="one", detail={"status": "denied"})], ADA)
    ada = by(workspace, "person")["ada"]
    assert ada["usd"] == 9 and ada["reserved"]["usd"] == 0


def test_a_time_narrows_it_and_still_knows_who_proposed_before(workspace: Workspace) -> None:
    ledger = Ledger.of(workspace)
    propose(ledger, "one", ADA)
    attempt(ledger, "one", "train", RIA, {"usd": 12})
    cut = [record for record in ledger.records()][-1].time
    attempt(ledger, "one", "evaluate", RIA, {"usd": 3})
    assert by(workspace, "person", since=cut)["ada"]["usd"] == 15
    later = next(r.time for r in ledger.records() if r.skill == "evaluate")
    assert by(workspace, "skill", since=later).keys() == {"evaluate"}
    assert by(workspace, "person", since=later)["ada"]["usd"] == 3
    assert by(workspace, "skill", until=later).keys() == {"train"}
    with pytest.raises(AskError, match="invalid time 'soon'"):
        spend_report(workspace, since="soon")


def test_what_planning_took_counts_and_no_record_gives_anything_back(workspace: Workspace) -> None:
    ledger = Ledger.of(workspace)
    propose(ledger, "one", ADA, planning={"tokens": 700, "usd": 0.5, "minutes": None})
    attempt(ledger, "one", "train", ADA, {"usd": -5, "tokens": True, "minutes": "9"})
    assert by(workspace, "skill")["planning"]["tokens"] == 700
    assert spend_report(workspace).total.spent == {"minutes": 0, "gpu_hours": 0, "usd": 0.5, "tokens": 700}


def test_months_stand_in_their_order(workspace: Workspace) -> None:
    ledger = Ledger.of(workspace)
    propose(ledger, "one", ADA)
    attempt(ledger, "one", "train", ADA, {"usd": 1})
    month = [r for r in ledger.records()][-1].time[:7]
    assert list(by(workspace, "month")) == [month]
