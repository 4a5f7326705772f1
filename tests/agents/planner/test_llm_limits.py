"""What planning one message may take: turns, tokens, dollars, time; and stopping it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opswright.agents.planner import (
    Declined,
    PlannerReply,
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
        return plan("make a training set from new.csv")

    assert isinstance(asyncio.run(in_a_notebook()), Proposal)
    assert Path.cwd() == plan.world.folder
