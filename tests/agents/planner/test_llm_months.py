"""What messages to a planner with a model hold of a month: one cannot have what another one holds."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from opswright.agents.planner import Declined, PlannerReply, Proposal
from opswright.record.index import Criteria
from opswright.record.ledger import Ledger, Phase
from opswright.record.records import PLANNING
from opswright.record.spending import SpendBook, spend_book

CURATE = {"id": "data", "skill": "curate", "with": {"source": "new.csv"}}
LOOK = "have a look around"


def book(plan: Any) -> SpendBook:
    return spend_book(plan.workspace(), Criteria({}, None, None))


def charged(plan: Any) -> float:
    return book(plan).charged("ada", f"{datetime.now(UTC):%Y-%m}")["tokens"]


def faults(plan: Any) -> set[str]:
    from opswright.ui.audit_check import audit_workspace

    report = audit_workspace(plan.workspace(), plan.world.registry, mlflow=False)
    return {f"{fault.seq}: {fault.message}" for fault in report.faults}


@contextmanager
def room_for(plan: Any, tokens: float) -> Iterator[None]:
    """A month in which so many tokens are left to ada, and no other fault in the record afterwards."""
    before, policy = faults(plan), plan.world.folder / "policy.yaml"
    policy.write_text(f"budgets: {{person: {{tokens: {charged(plan) + tokens}}}}}\n")
    try:
        yield
        assert faults(plan) == before
    finally:
        policy.unlink()


def first_call(plan: Any, play: ModuleType) -> float:
    """How many tokens a message holds for its first call."""
    plan.server.play(play.calls("decline", {"why": "no"}))
    with room_for(plan, 1e6):
        plan(LOOK)
    held = [r for r in Ledger.of(plan.workspace()).records() if r.phase == Phase.RESERVED and r.run is None]
    return float(held[-1].detail["reserved"]["tokens"])


def test_two_messages_at_once_cannot_both_have_what_is_left(plan: Any, play: ModuleType) -> None:
    """Each fits alone, and the model is slow: without holding it, both would be called."""
    needed = first_call(plan, play)
    decline = {"index": 0, "id": "c", "function": {"name": "decline", "arguments": '{"why": "no"}'}}
    ends = (play.delta(tool_calls=[decline]), play.delta("tool_calls"), play.usage())
    plan.server.play(play.events(*[play.delta(content="so ")] * 20, *ends, pause_s=0.1))
    with room_for(plan, 1.6 * needed), ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(plan, (LOOK, LOOK)))
    refused = [r for r in replies if r.planned_by is not None and r.planned_by.turns == 0]
    assert len(refused) == len(plan.server.bodies) == 1
    assert "Budgets of a month" in plan.without_model(refused[0])


@pytest.mark.parametrize("how", ["proposed", "declined", "defect"])
def test_what_a_message_held_is_settled_once_whatever_it_came_to(
    plan: Any, play: ModuleType, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = charged(plan)
    with room_for(plan, 1e6):
        if how == "defect":
            monkeypatch.setattr("opswright.agents.planner.llm.planner.escaped", lambda *a, **k: 1 / 0)
            plan.server.play(play.says("so"))
            with pytest.raises(ZeroDivisionError):
                plan(LOOK)
        else:
            plan.server.play(
                play.proposes(CURATE) if how == "proposed" else play.calls("decline", {"why": "no"})
            )
            reply: PlannerReply = plan("clean new.csv" if how == "proposed" else LOOK)
            assert isinstance(reply, Proposal if how == "proposed" else Declined)
        rows = [row for row in book(plan).settled if row.skill == PLANNING]
        assert not [key for key in book(plan).open if not key[0]], "nothing is held any more"
        assert charged(plan) - before == rows[-1].amounts["tokens"] > 0
        assert rows[-1].endpoint == plan.server.url and rows[-1].person == "ada"


def test_a_proposal_that_is_started_costs_what_its_message_took_and_no_more(
    plan: Any, play: ModuleType
) -> None:
    from opswright.agents.agent import Agent
    from opswright.core.principal import Principal

    before = charged(plan)
    plan.server.play(play.proposes(CURATE))
    reply = plan("clean new.csv")
    assert isinstance(reply, Proposal) and reply.planned_by is not None
    took = reply.planned_by.tokens
    made = Agent(plan.workspace(), plan.world.registry, acting=Principal("ada", ("releaser",), "test"))
    made.start(reply)
    told = [r for r in Ledger.of(plan.workspace()).records() if r.phase == Phase.PROPOSED][-1]
    assert told.detail["planning"]["tokens"] == took and charged(plan) - before == took


def test_what_a_killed_message_held_counts_in_its_month(plan: Any, play: ModuleType) -> None:
    needed, before = first_call(plan, play), charged(plan)
    plan.server.play(play.says("thinking " * 100, pause_s=0.1))
    with room_for(plan, 1.6 * needed):
        pid = os.fork()
        if pid == 0:
            plan(LOOK)
            os._exit(0)
        until = time.monotonic() + 30
        while not plan.server.bodies and time.monotonic() < until:
            threading.Event().wait(0.02)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert charged(plan) - before == pytest.approx(needed, rel=0.1)
        plan.server.play(play.calls("decline", {"why": "no"}))
        assert "Budgets of a month" in plan.without_model(plan(LOOK)) and plan.server.bodies == []
