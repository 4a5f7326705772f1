"""What planning one message may take: turns, tokens, dollars, time; and stopping it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opswright.agents.planner import (
    Declined,
    PlannerReply,
    PlanningEvent,
    Proposal,
)

CURATE = {"id": "data", "skill": "curate", "with": {"source": "new.csv"}}


def test_turns_end(plan: Any, play: ModuleType) -> None:
    plan.settings["max_turns"] = 3
    plan.server.play(
        *[play.calls("search_none" if n > 90 else "show_record", {"seq": n}) for n in range(1, 40)]
    )
    assert "planner.max_turns is 3" in plan.without_model(plan("clean new.csv"))
    assert len(plan.server.bodies) == 3


def test_tokens_are_reserved_before_a_call(plan: Any, play: ModuleType) -> None:
    plan.settings["max_tokens"] = 5_000
    plan.server.play(play.proposes(CURATE))
    assert "planner.max_tokens is 5,000" in plan.without_model(plan("clean new.csv"))
    assert plan.server.bodies == []


def test_what_is_not_reported_counts_as_it_was_reserved(plan: Any, play: ModuleType) -> None:
    step = {"index": 0, "id": "a", "function": {"name": "live", "arguments": "{}"}}
    plan.settings["max_tokens"] = 30_000
    for reported in ([], [play.usage(0, 0)], [play.usage(-5, -5)], [{**play.usage(), "usage": {"x": "y"}}]):
        plan.server.play(play.events(play.delta(tool_calls=[step]), play.delta("tool_calls"), *reported))
        reply = plan("clean new.csv")
        assert "planner.max_tokens" in plan.without_model(reply) and len(plan.server.bodies) == 1
        assert reply.planned_by is not None and reply.planned_by.tokens > 10_000


@pytest.mark.parametrize("reported", [[], [0]])
def test_a_reply_counts_for_what_came_whatever_is_reported(
    plan: Any, play: ModuleType, reported: list[int]
) -> None:
    long = play.delta(content="word " * 20_000)
    decline = {"name": "decline", "arguments": '{"why": "so"}'}
    call = play.delta(tool_calls=[{"index": 0, "id": "c", "type": "function", "function": decline}])
    told = [play.usage(6000, written) for written in reported]
    plan.server.play(play.events(long, call, play.delta("tool_calls"), *told))
    reply = plan("have a look around")
    assert reply.planned_by is not None and reply.planned_by.tokens > 6000 + 8000


def test_a_report_of_more_than_can_be_uses_no_month_up(plan: Any, play: ModuleType) -> None:
    decline = {"name": "decline", "arguments": '{"why": "so"}'}
    call = play.delta(tool_calls=[{"index": 0, "id": "c", "type": "function", "function": decline}])
    taken = []
    for reported in (play.usage(20_000, 3_000), play.usage(900_000_000, 900_000_000)):
        plan.server.play(play.events(call, play.delta("tool_calls"), reported))
        planned = plan("have a look around").planned_by
        assert planned is not None
        taken.append(planned.tokens)
    assert taken[0] == 23_000 < taken[1] < 200_000


def test_dollars_end(plan: Any, play: ModuleType) -> None:
    plan.settings |= {"max_usd": 0.05, "usd_per_million_input": 1.0, "usd_per_million_output": 5.0}
    dear = play.usage(30_000, 2_000)
    step = {"index": 0, "id": "a", "function": {"name": "live", "arguments": "{}"}}
    plan.server.play(play.events(play.delta(tool_calls=[step]), play.delta("tool_calls"), dear))
    reply = plan("clean new.csv")
    assert "planner.max_usd is 0.05" in plan.without_model(reply) and len(plan.server.bodies) == 1
    assert reply.planned_by is not None and reply.planned_by.usd == pytest.approx(0.04)


def test_a_stopped_request_ends_the_call(plan: Any, play: ModuleType) -> None:
    plan.server.play(play.says("thinking " * 400, pause_s=0.05))
    threading.Timer(0.5, plan.cancelled.set).start()
    began = time.monotonic()
    reply = plan("make a training set from new.csv")
    assert isinstance(reply, Declined) and reply.reason == "stopped"
    assert time.monotonic() - began < 6 and plan.server.broken.wait(5)


def test_a_window_that_holds_nothing_is_said(plan: Any, play: ModuleType) -> None:
    plan.settings |= {"window_tokens": 4_000, "max_reply_tokens": 500}
    assert "planner.window_tokens" in plan.without_model(plan("clean new.csv"))


def test_it_works_where_a_loop_runs_already(plan: Any, play: ModuleType) -> None:
    import asyncio

    plan.server.play(play.proposes(CURATE))

    async def in_a_notebook() -> PlannerReply:
        reply: PlannerReply = plan("make a training set from new.csv")
        return reply

    assert isinstance(asyncio.run(in_a_notebook()), Proposal)
    assert Path.cwd() == plan.world.folder


BUDGETS = {
    "tokens": "person: {tokens: 5000}",
    "usd, prices known": "person: {usd: 0.001}",
    "usd, prices unknown": "month: {usd: 1000}",
    "minutes": "people: {ada: {minutes: 0.05}}",
}


@pytest.mark.parametrize("name", BUDGETS)
def test_a_call_that_does_not_fit_the_months_budget_is_not_made(
    plan: Any, play: ModuleType, name: str
) -> None:
    policy = plan.world.folder / "policy.yaml"
    policy.write_text(f"budgets: {{{BUDGETS[name]}}}\n")
    if name != "usd, prices unknown":
        plan.settings |= {"usd_per_million_input": 1.0, "usd_per_million_output": 5.0}
    try:
        plan.server.play(play.proposes(CURATE))
        reply = plan("clean new.csv")
        assert isinstance(reply, Proposal) and "Budgets of a month" in plan.without_model(reply)
        assert plan.server.bodies == []
    finally:
        policy.unlink()


def test_what_planning_took_counts_against_the_month_whatever_it_came_to(plan: Any, play: ModuleType) -> None:
    from opswright.record.index import Criteria
    from opswright.record.records import PLANNING
    from opswright.record.spending import spend_book
    from opswright.ui.audit_check import audit_workspace

    plan.settings |= {"usd_per_million_input": 1.0, "usd_per_million_output": 5.0}
    faults = len(audit_workspace(plan.workspace(), plan.world.registry, mlflow=False).faults)
    policy = plan.world.folder / "policy.yaml"
    taken = (
        spend_book(plan.workspace(), Criteria({}, None, None))
        .charged("ada", f"{datetime.now(UTC):%Y-%m}")
        .get("tokens", 0)
    )
    policy.write_text(f"budgets: {{person: {{tokens: {taken + 50_000}}}}}\n")
    try:
        plan.server.play(
            play.events(play.delta("stop"), play.usage(30_000, 100)), play.calls("decline", {"why": "no"})
        )
        first = plan("have a look around")
        assert isinstance(first, Declined) and first.planned_by is not None and first.planned_by.kind == "llm"
        took = first.planned_by.tokens
        spent = [
            one
            for one in spend_book(plan.workspace(), Criteria({}, None, None)).settled
            if one.skill == PLANNING
        ]
        assert spent[-1].person == "ada" and spent[-1].amounts["tokens"] == took > 30_000
        assert spent[-1].amounts["usd"] == pytest.approx(first.planned_by.usd)
        plan.server.play(play.proposes(CURATE))
        assert "Budgets of a month" in plan.without_model(plan("clean new.csv")) and plan.server.bodies == []
    finally:
        policy.unlink()
    assert len(audit_workspace(plan.workspace(), plan.world.registry, mlflow=False).faults) == faults


def test_an_interrupted_message_counts_against_the_month_too(plan: Any, play: ModuleType) -> None:
    from opswright.record.index import Criteria
    from opswright.record.spending import spend_book

    def charged() -> float:
        book = spend_book(plan.workspace(), Criteria({}, None, None))
        return book.charged("ada", f"{datetime.now(UTC):%Y-%m}").get("tokens", 0)

    class Interrupted(list[PlanningEvent]):
        def append(self, event: PlanningEvent) -> None:
            if event.kind == "tool":
                raise KeyboardInterrupt

    before, plan.events = charged(), Interrupted()
    plan.server.play(play.calls("live"))
    with pytest.raises(KeyboardInterrupt):
        plan("clean new.csv")
    assert charged() == before + 6_050


def test_a_tool_that_takes_too_long_ends_with_the_message(
    plan: Any, play: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opswright.agents.planner.llm.read_tools import ReadTools

    hangs = threading.Event()
    monkeypatch.setattr(ReadTools, "_live", lambda self, arguments: hangs.wait(60))
    plan.settings["max_seconds"] = 8
    plan.server.play(play.calls("live"))
    began = time.monotonic()
    assert "planner.max_seconds is 8, and live took longer" in plan.without_model(plan("clean new.csv"))
    plan.settings["max_seconds"] = 60
    threading.Timer(1, plan.cancelled.set).start()
    stopped = plan("clean new.csv")
    assert isinstance(stopped, Declined) and stopped.reason == "stopped" and time.monotonic() - began < 45
    hangs.set()
