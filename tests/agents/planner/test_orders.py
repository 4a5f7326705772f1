"""Orders in words that no phrase has: by the thing they are about, by numbers, by what was told before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from opswright.agents.planner import Declined, PlannerReply, Proposal, Question
from opswright.agents.planner.phrases.lexicon import lexicon_of

Asked = Callable[..., PlannerReply]


def steps_of(reply: PlannerReply) -> list[tuple[str, dict[str, Any]]]:
    assert isinstance(reply, Proposal), reply
    return [(str(one["skill"]), dict(one["with"])) for one in (reply.draft or {})["steps"]]


@pytest.mark.parametrize(
    ("said", "skill"),
    [
        ("inspect shop for drift, the last 500 requests", "drift"),
        ("print the leaderboard in json for reviews", "leaderboard"),
        ("compute a leaderboard of reviews", "leaderboard"),
        ("sketch a learning curve of data-2 on tickets", "learning-curve"),
        ("produce a golden set for reviews", "golden"),
    ],
)
def test_an_order_whose_verb_no_phrase_has_is_read_by_what_it_is_about(
    ask: Asked, said: str, skill: str
) -> None:
    assert [name for name, _ in steps_of(ask(said))] == [skill]


@pytest.mark.parametrize(
    "said", ["sketch a deployment of engine-2 on desk", "examine a promotion of shop", "bring me a coffee"]
)
def test_such_an_order_never_serves(ask: Asked, said: str) -> None:
    assert not isinstance(ask(said), Proposal)


def test_what_stands_before_a_colon_is_what_it_is_about(ask: Asked) -> None:
    assert steps_of(ask("desk: engine-2 canary 5%"))[0][1]["endpoint"] == "desk"
    assert steps_of(ask("shop: back to prior release, now")) == [("rollback", {"endpoint": "shop"})]
    assert steps_of(ask("raw/mails.jsonl: drop duplicates, seed 7"))[0][1]["source"] == "raw/mails.jsonl"
    assert not isinstance(ask("shop: promoting the canary"), Proposal)


def test_it_is_the_canary_that_was_told_of(ask: Asked) -> None:
    said = "the canary on shop answers nonsense, pull it please"
    assert not isinstance(ask("the engine on shop answers nonsense, make it stable"), Proposal)
    assert steps_of(ask("the canary on shop looks good, make it stable")) == [
        ("promote", {"endpoint": "shop"})
    ]
    assert not isinstance(ask(said.replace("pull it please", "grace will pull it")), Proposal)


@pytest.mark.parametrize(
    "said",
    [
        "only after that the head of care has agreed, put engine-2 on desk",
        "after the audit team agreed, promote shop",
        "now that legal has signed, promote shop",
        "after the meeting, promote shop",
        "promote shop upon approval by grace",
    ],
)
def test_what_serves_and_waits_for_somebody_is_asked_about(ask: Asked, said: str) -> None:
    assert not isinstance(ask(said), Proposal)


def test_a_step_of_the_plan_is_no_waiting(ask: Asked) -> None:
    found = steps_of(ask("after building an engine from model-2, deploy it to desk"))
    assert [name for name, _ in found] == ["build-engine", "deploy"]


@pytest.mark.parametrize("said", ["hm, do it a bit differently", "do it otherwise", "not like that"])
def test_a_change_that_names_nothing_changes_nothing(ask: Asked, said: str) -> None:
    assert isinstance(ask(said, "fine-tune tiny on data-2 for 2 epochs"), Declined | Question)


def test_numbers_go_where_their_names_or_their_row_say(ask: Asked) -> None:
    trained = steps_of(ask("train tiny on data-2 with 3 layers and width 96"))[0][1]
    assert trained["tiny"] == {"layers": 3, "width": 96}
    assert steps_of(ask("roll out engine-2 to desk 1/10/30"))[0][1]["stages"] == [1, 10, 30]
    asked = "load test engine-2 with the prompts of the tickets suite, with 10 and 50 requests at a time"
    assert steps_of(ask(asked))[0][1]["concurrency"] == [10, 50]
    assert steps_of(ask("train tiny on data-2, stop after 800 steps"))[0][1]["max_steps"] == 800
    assert steps_of(ask("deploy engine-2 to a fifth of desk"))[0][1]["canary_percent"] == 20


def test_an_endpoint_that_is_not_there_is_asked_about_where_none_is_made(ask: Asked) -> None:
    reply = ask("check kiosk for drift")
    assert isinstance(reply, Question) and (reply.draft or {})["asked"]["field"] == "endpoint"
    assert steps_of(ask("deploy engine-2 to kiosk"))[0][1]["endpoint"] == "kiosk"


def test_names_of_two_words_may_stand_the_other_way_round(ask: Asked, world: Callable[[str], Any]) -> None:
    trained = steps_of(ask("train tiny on data-2 with a rate of learning 0.003"))[0][1]
    assert trained["learning_rate"] == 0.003
    lexicon = lexicon_of(world("rich").registry)
    read = [token.key for token in lexicon.read("golden set of the suite", frozenset())]
    assert read == ["golden", "set", "of", "the", "suite"]


def test_a_bar_said_as_a_step_of_its_own_is_the_gate_of_what_is_measured(ask: Asked) -> None:
    reply = ask("evaluate model-2 on tickets, and gate it at min 0.87")
    assert isinstance(reply, Proposal) and len(steps_of(reply)) == 1
    assert (reply.draft or {})["gates"]["release"]["min"] == 0.87


def test_a_switch_is_denied_with_any_verb(ask: Asked) -> None:
    found = steps_of(ask("evaluate engine-1 on suite tickets and do not calculate baselines"))
    assert found[0][1]["baselines"] is False
    assert not isinstance(ask("promote shop, and do not calculate it"), Proposal)
