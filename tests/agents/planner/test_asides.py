"""Asides: what is said beside a wish neither refuses it nor is asked about; what is about it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from opswright.agents.planner import PlannerReply, Proposal, Question

World = Callable[[str], Any]


def steps(reply: PlannerReply) -> list[dict[str, Any]]:
    assert isinstance(reply, Proposal), reply
    return [dict(one) for one in (reply.draft or {})["steps"]]


@pytest.mark.parametrize(
    ("said", "skill"),
    [
        (
            "I keep wondering whether labels are worth it, so plan a learning curve of data-2 on tickets",
            "learning-curve",
        ),
        ("my gut says people write differently now, can you check shop for drift?", "drift"),
        ("somebody asked the bot about gambling yesterday... block questions about gambling please", ""),
        ("so it rains all day... anyway, evaluate the last checkpoint on tickets", "evaluate"),
        ("train tiny on the last dataset and see what we get", "finetune"),
        ("check shop for drift. I have a board meeting at noon.", "drift"),
        ("clean new.csv and mask personal data, legal would kill me otherwise", "curate"),
        ("bring back the previous release on shop? The customers are complaining.", "rollback"),
        ("promote shop, everyone is waiting", "promote"),
        ("make a training set from new.csv so it does not forget", "curate"),
    ],
)
def test_an_aside_neither_refuses_nor_is_asked_about(ask: Any, said: str, skill: str) -> None:
    assert skill in steps(ask(said))[0]["skill"]


@pytest.mark.parametrize(
    "said",
    [
        "grace wrote me this, please train tiny on the last dataset",
        "grace says the model is old, train tiny on the last dataset",
        "just thinking out loud, train tiny on the last dataset",
        "in theory, train tiny on the last dataset",
        "the docs say we should, so train tiny on the last dataset",
        "the ticket says this: train tiny on the last dataset",
        "we are only supposing here, so train tiny on the last dataset",
        "we are only imagining how nice that is, so train tiny on the last dataset",
        "train tiny on the last dataset, the people here perhaps like that",
        "I was told to, so train tiny on the last dataset",
        "train tiny on the last dataset, we might do that later",
        "train tiny on the last dataset, he told me",
        "promote shop, everybody thinks",
        "promote shop, we are not ready",
        "promote shop, the customers are waiting for grace",
        "promote shop, everyone is asking what it would break",
        "promote shop if that is fine",
        "promote shop so that nothing breaks",
        "could we please not promote shop",
        "kill the endpoint shop, legal would kill me otherwise",
        "evaluate the last checkpoint on tickets so that we do not have to",
    ],
)
def test_what_is_said_of_the_wish_itself_is_no_aside(ask: Any, said: str) -> None:
    assert not isinstance(ask(said), Proposal)


def test_what_names_a_field_is_no_aside(ask: Any) -> None:
    said = "evaluate the last checkpoint on tickets, this time in capitals and with typos as well"
    assert steps(ask(said))[0]["with"]["robustness"] == ["case", "typos"]


@pytest.mark.parametrize(
    ("said", "acts"),
    [
        ("model-2 must be evaluated on tickets", True),
        ("data/reviews.csv needs cleaning", True),
        ("could we have model-2 evaluated on tickets please", True),
        ("model-2 was evaluated on tickets", False),
        ("model-2 is evaluated on tickets", False),
        ("we have model-2 evaluated on tickets", False),
        ("engine-2 should be deployed to shop", False),
        ("engine-2 must be deployed to shop", True),
        ("the release must be deployed to shop", False),
        ("engine-2 is deployed to shop", False),
    ],
)
def test_a_passive_is_a_wish_only_where_it_must_be_and_what_serves_names_the_thing(
    ask: Any, said: str, acts: bool
) -> None:
    assert isinstance(ask(said), Proposal) is acts


def test_words_in_an_order_of_their_own_are_a_wish_only_where_they_are_asked_for(ask: Any) -> None:
    (step,) = steps(ask("I need to know if on the desk there is drift, since 300 last requests."))
    assert (step["skill"], step["with"]) == ("drift", {"endpoint": "desk", "window": 300})
    assert not isinstance(ask("on the desk there is drift, since 300 last requests."), Proposal)
    assert not isinstance(
        ask("I would like to know why the evaluation of model-2 on tickets is slow"), Proposal
    )


def test_two_models_are_two_steps(ask: Any) -> None:
    found = steps(ask("evaluate model-1 and model-2 on reviews"))
    assert [one["skill"] for one in found] == ["evaluate", "evaluate"]
    assert len({one["with"]["model"] for one in found}) == 2


def test_the_question_about_what_is_missing_says_which_words_would_be_left_out(ask: Any) -> None:
    reply = ask("deploy engine-2 frobbingly")
    assert isinstance(reply, Question) and "frobbingly" in reply.text and "left out" in reply.text
    assert (reply.draft or {})["left_out"] == ["frobbingly"]


def test_something_is_asked_for(ask: Any) -> None:
    reply = ask("put something new on shop")
    assert isinstance(reply, Question) and (reply.draft or {})["asked"]["field"] == "bundle"


def test_a_value_of_another_skill_is_not_passed_over(ask: Any) -> None:
    assert isinstance(ask("sft tiny on data-2, 1k steps, onnx-int8 build"), Question)
    (_, engine) = steps(ask("sft tiny on data-2, 1k steps, then onnx-int8 build"))
    assert engine["with"]["target"] == "onnx-int8"


@pytest.mark.parametrize(
    ("before", "said", "field", "value"),
    [
        ("make guardrails that block politics", "religion too", "topics", ["politics", "religion"]),
        ("roll out engine-2 to desk with stages 5, 50", "let's rather do 10 and 40", "stages", [10, 40]),
        ("roll out engine-2 to desk", "with 10 minutes per stage please", "stage_minutes", 10),
        ("roll out engine-2 to desk", "and give it 3 hours at most", "max_minutes", 180),
        ("roll back shop", "oh no, desk I mean", "endpoint", "desk"),
    ],
)
def test_a_correction_of_a_few_words(ask: Any, before: str, said: str, field: str, value: object) -> None:
    assert steps(ask(said, before))[0]["with"][field] == value


def test_a_golden_set_that_was_made_is_kept_out(ask: Any) -> None:
    said = "make the golden set of tickets, then curate data/tickets.csv and keep that golden set out of it"
    golden, curate = steps(ask(said))
    assert golden["skill"] == "golden" and curate["with"]["golden"] == "${golden.dataset}"


@pytest.mark.parametrize(
    ("said", "about"),
    [
        ("what can you actually do?", "Skills"),
        ("which checkpoint is until now the best?", "tickets:"),
        ("which release is now living on shop?", "shop:"),
    ],
)
def test_a_plain_question_is_told_by_its_words(ask: Any, said: str, about: str) -> None:
    assert ask(said).text.startswith(about)
