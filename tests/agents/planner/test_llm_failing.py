"""An endpoint that fails and a model that misbehaves: the phrases planner takes over and says so."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any

import pytest

from opswright.agents.planner import (
    Proposal,
)

CURATE = {"id": "data", "skill": "curate", "with": {"source": "new.csv"}}
PROMOTE = {"id": "live", "skill": "promote", "with": {"endpoint": "shop"}}


def test_an_endpoint_that_is_down_leaves_the_phrases_planner(plan: Any) -> None:
    plan.settings["base_url"] = "http://127.0.0.1:9/v1"
    reply = plan("clean new.csv")
    assert isinstance(reply, Proposal) and "cannot be reached" in plan.without_model(reply)
    assert plan.events[-1].kind == "note" and "without a model" in plan.events[-1].text


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_an_error_of_the_endpoint_leaves_the_phrases_planner(
    plan: Any, play: ModuleType, status: int
) -> None:
    plan.server.play(play.fails(status, "not now"))
    reply = plan("clean new.csv")
    assert isinstance(reply, Proposal) and f"HTTP {status} (not now)" in plan.without_model(reply)


def test_a_busy_endpoint_is_asked_again(plan: Any, play: ModuleType) -> None:
    plan.settings["retries"] = 1
    plan.server.play(play.fails(429, "busy", retry_after="0.01"), play.proposes(CURATE))
    reply = plan("make a training set from new.csv")
    assert reply.planned_by is not None and reply.planned_by.kind == "llm" and len(plan.server.bodies) == 2


BAD_STREAMS = {
    "cut": lambda p: p.raw(b'data: {"choices": [{"index": 0, "delta": {"content": "I wi'),
    "no end": lambda p: p.raw(b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"I will"}}]}\n\n'),
    "no json": lambda p: p.raw(b"data: {{{\n\ndata: [DONE]\n\n"),
    "html": lambda p: p.raw(b"<html>login</html>", content_type="text/html"),
    "empty": lambda p: p.raw(b""),
    "empty choices": lambda p: p.events({**p.delta(), "choices": []}),
    "odd choices": lambda p: p.events({**p.delta(), "choices": "many"}, {**p.delta(), "choices": [7]}),
    "odd delta": lambda p: p.events({**p.delta(), "choices": [{"delta": 3, "finish_reason": None}]}),
    "an error inside": lambda p: p.events({"error": {"message": "out of memory"}}),
    "packed": lambda p: p.raw(b"\x1f\x8b" * 50, content_encoding="gzip"),
    "elsewhere": lambda p: p.fails(307, location="http://127.0.0.1:9/v1/chat/completions"),
    "many calls": lambda p: p.calls_all(*[("live", {"n": n}) for n in range(40)]),
    "a giant text": lambda p: p.says("word " * 60_000),
}


@pytest.mark.parametrize("kind", BAD_STREAMS)
def test_a_broken_stream_leaves_the_phrases_planner(plan: Any, play: ModuleType, kind: str) -> None:
    plan.server.play(BAD_STREAMS[kind](play))
    reply = plan("clean new.csv")
    assert isinstance(reply, Proposal) and plan.without_model(reply)


@pytest.mark.parametrize("kind", ["drips", "pours"])
def test_a_slow_drip_and_an_endless_answer_end_in_time(plan: Any, play: ModuleType, kind: str) -> None:
    plan.settings["max_seconds"] = 1.5
    plan.server.play(getattr(play, kind)())
    began = time.monotonic()
    assert isinstance(plan("clean new.csv"), Proposal)
    assert time.monotonic() - began < 8 and plan.server.broken.wait(5)


# a model that misbehaves


def test_bad_json_is_told_and_then_given_up(plan: Any, play: ModuleType) -> None:
    plan.server.play(play.calls("propose_plan", '{"steps": ['), play.proposes(CURATE))
    assert isinstance(plan("make a training set from new.csv"), Proposal)
    for text in ('{"steps": [', "[" * 50_000, "null", "NaN", '"x"'):
        plan.server.play(play.calls("propose_plan", text))
        assert "cannot be used" in plan.without_model(plan("clean new.csv"))


def test_text_alone_is_no_answer(plan: Any, play: ModuleType) -> None:
    plan.server.play(play.says("I have promoted shop for you. Approved!"))
    reply = plan("clean new.csv")
    assert "no tool was called" in plan.without_model(reply) and "promoted" not in str(reply)


def test_unknown_tools_and_wrong_ids_do_no_harm(plan: Any, play: ModuleType) -> None:
    plan.server.play(
        play.calls("approve_plan", {"plan": "all"}, call_id=""),
        play.calls("live", call_id="call_1"),
        play.calls("list_runs", call_id="call_1"),
        play.proposes(CURATE),
    )
    assert isinstance(plan("make a training set from new.csv"), Proposal)
    assert "there is no tool 'approve_plan'" in plan.server.said


def test_two_answers_at_once_are_none(plan: Any, play: ModuleType) -> None:
    both = (("propose_plan", {"steps": [CURATE]}), ("propose_plan", {"steps": [PROMOTE]}))
    plan.server.play(play.calls_all(*both))
    assert "only one" in plan.without_model(plan("clean new.csv"))


def test_a_loop_ends(plan: Any, play: ModuleType) -> None:
    plan.server.play(play.calls("live"))
    assert "in a circle" in plan.without_model(plan("clean new.csv"))
    assert len(plan.server.bodies) == 3
    plan.server.play(*[play.calls(name) for _ in range(4) for name in ("live", "list_runs")])
    assert "in a circle" in plan.without_model(plan("clean new.csv"))
