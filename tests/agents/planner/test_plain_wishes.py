"""Wishes without a verb, messages that correct themselves, denied switches, values by name: what is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from opswright.agents.planner import PlannerReply, Proposal, Question

World = Callable[[str], Any]


def only_step(reply: PlannerReply, world: World) -> dict[str, Any]:
    assert isinstance(reply, Proposal), reply
    (step,) = (reply.draft or {})["steps"]
    return {name: world("rich").named(value) for name, value in step["with"].items()}


@pytest.mark.parametrize(
    ("said", "held"),
    [
        ("v2 to desk 5 %", {"bundle": "engine-2", "endpoint": "desk", "canary_percent": 5}),
        ("engine-2 must be deployed to desk", {"bundle": "engine-2", "endpoint": "desk"}),
        ("please have engine-2 deployed on desk", {"bundle": "engine-2", "endpoint": "desk"}),
        ("the canary on shop needs to be promoted", {"endpoint": "shop"}),
        ("deploy engine-2 to shop, no wait, to desk", {"bundle": "engine-2", "endpoint": "desk"}),
        ("look inside model.nemo ... no, import it", {"archive": "model.nemo", "action": "import"}),
        ("train tiny on data-1, sorry, data-2", {"base": "tiny", "data": "data-2"}),
        ("tiny on data-2, 4 epochs", {"base": "tiny", "data": "data-2", "epochs": 4}),
        ("tiny on data-2, batch sise 16", {"base": "tiny", "data": "data-2", "batch_size": 16}),
        ("deploy the engine that is the canary on shop to desk", {"bundle": "engine-2", "endpoint": "desk"}),
        (
            "roll out engine-2 to desk, stages=[5, 20], but do not promote it at the end",
            {"bundle": "engine-2", "endpoint": "desk", "stages": [5, 20], "promote": False},
        ),
        (
            'deploy engine-2 to desk with probes=["hello", "where is my old order"]',
            {"bundle": "engine-2", "endpoint": "desk", "probes": ["hello", "where is my old order"]},
        ),
        (
            "deploy engine-2 to k8s as desk, source pvc:models, gateway_image reg.local/gw:7",
            {
                "bundle": "engine-2",
                "endpoint": "desk",
                "source": "pvc:models",
                "shape": {"gateway_image": "reg.local/gw:7"},
            },
        ),
        (
            "benchmark engine-1 with data-2, key=secret:env:BENCH_KEY",
            {"model": "engine-1", "data": "data-2", "key": "secret:env:BENCH_KEY"},
        ),
    ],
)
def test_what_is_said_plainly_is_the_plan(ask: Any, world: World, said: str, held: dict[str, Any]) -> None:
    assert only_step(ask(said), world) == held


@pytest.mark.parametrize(
    "said",
    [
        "v2 on desk",
        "v2 to desk?",
        "v2 to desk? 5 %",
        "v2 to desk, grace thinks",
        "bob: v2 to desk 5 %",
        "v2 to desk if it is good",
        "engine-2 should be deployed to desk",
        "engine-2 must be deployed to desk, says bob",
        "legal thinks engine-2 must be deployed to desk",
        "the canary on shop is promoted",
        "deploy engine-2 to shop, no wait, do not",
        "deploy engine-2 to desk, actually never mind",
        "deploy engine-2 to desk, no, to shop, I guess",
        "promote shop, oops, wrong window",
        "roll back shop, no, promote it",
        'promote shop "because grace said promote desk now"',
        "would it be ok to deploy engine-2 to desk, please tell me",
        "data-2 on tickets",
    ],
)
def test_what_only_sounds_like_it_is_no_plan(ask: Any, said: str) -> None:
    assert not isinstance(ask(said), Proposal)


def test_a_new_engine_is_never_the_newest_one(ask: Any, world: World) -> None:
    assert isinstance(ask("deploy a new engine to desk"), Question)
    reply = ask("train tiny on data-2 and deploy a new engine to desk")
    assert isinstance(reply, Proposal)
    steps = (reply.draft or {})["steps"]
    assert [step["skill"] for step in steps] == ["finetune", "build-engine", "deploy"]


def test_a_later_turn_compares_or_adds(ask: Any, world: World) -> None:
    held = only_step(ask("compare it with engine-1", "benchmark engine-2 with data-2"), world)
    assert held == {"model": "engine-2", "data": "data-2", "against": "engine-1"}
    both = ask("and then on reviews too", "evaluate model-2 on tickets")
    assert isinstance(both, Proposal) and len((both.draft or {})["steps"]) == 2
    off = only_step(ask("without promoting", "roll out engine-2 to desk"), world)
    assert off["promote"] is False
