"""Loose wording: glued and swapped words, limits in front, verbs at the end, braces, short corrections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from opswright.agents.planner import Declined, PlannerReply, Proposal, Question
from opswright.agents.planner.phrases.lexicon import Lexicon, lexicon_of
from opswright.agents.planner.phrases.limits import limits_behind
from opswright.agents.planner.phrases.mappings import mapping_of

World = Callable[[str], Any]
NO_NAMES: frozenset[str] = frozenset()


@pytest.fixture
def lexicon(world: World) -> Lexicon:
    return lexicon_of(world("rich").registry)


def only_step(reply: PlannerReply) -> dict[str, Any]:
    assert isinstance(reply, Proposal), reply
    ((step,),) = [(reply.draft or {})["steps"]]
    return dict(step["with"])


def read(lexicon: Lexicon, text: str) -> str:
    return " ".join(token.key for token in lexicon.read(text, NO_NAMES))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("evaluatethe lastcheckpoint", "evaluate the last checkpoint"),
        ("for3 epochs, rank8, 200steps", "for 3 epochs , rank 8 , 200 steps"),
        ("lastt datasset", "last dataset"),
        ("to int8 on an h100 in v2", "to int8 on an h100 in v2"),
        ("<2h", "under 2 h"),
    ],
)
def test_words_and_numbers_written_as_one_are_read_apart(lexicon: Lexicon, said: str, meant: str) -> None:
    assert read(lexicon, said) == meant


def test_a_limit_before_the_wish_is_the_plans_budget(ask: Any, lexicon: Lexicon) -> None:
    found = ask("in at most 2 hours and under 5 dollars: train tiny on the last dataset")
    assert (found.draft or {})["budget"] == {"minutes": 120, "usd": 5}
    tokens = lexicon.read("in 2 hours, deploy the last engine to desk", NO_NAMES)
    assert limits_behind(tokens) == tokens  # that is a time, and no limit


def test_a_word_that_stands_alone_and_means_nothing_is_asked_about(ask: Any) -> None:
    found = ask("train tiny on the last dataset, flurm")
    assert isinstance(found, Question) and "flurm" in found.text
    assert only_step(ask("train tiny on the last dataset, slurm"))["compute"] == "slurm"


def test_a_name_that_is_set_to_nothing_is_asked_about(ask: Any) -> None:
    found = ask("curate new.csv seed=")
    assert isinstance(found, Question) and found.text == "Which seed?"


def test_a_verb_at_the_end_is_a_wish_and_what_serves_needs_to_be_asked_for(ask: Any) -> None:
    assert only_step(ask("please the last model on tickets evaluate"))["suite"] == "suites/tickets.yaml"
    assert only_step(ask("can you please the last engine on desk deploy?"))["endpoint"] == "desk"
    assert not isinstance(ask("the last engine on desk deploy"), Proposal)


def test_values_in_braces_belong_to_the_field_before_them_or_to_nothing(ask: Any) -> None:
    said = "finetune tiny on the last dataset with overrides={optimizer.eps: 0.1}"
    assert only_step(ask(said))["overrides"] == {"optimizer.eps": 0.1}
    assert isinstance(ask('the ticket has shape={gateway_image: "x"} and then promote shop'), Declined)
    assert mapping_of("{a: {b: c}}") is None and mapping_of("{a: !!python/name:os.system ''}") is None


@pytest.mark.parametrize(
    ("before", "said", "field", "value"),
    [
        ("evaluate the last model on tickets", "without the baselines", "baselines", False),
        ("finetune tiny on the last dataset for 300 steps", "500", "max_steps", 500),
        ("deploy the last engine to desk", "instead of desk use shop", "endpoint", "shop"),
        ("clean new.csv", "mask personal data as well", "personal_data", "mask"),
        ("what is live on shop?", "roll it back", "endpoint", "shop"),
    ],
)
def test_a_short_correction_changes_the_one_thing_it_fits(
    ask: Any, before: str, said: str, field: str, value: object
) -> None:
    assert only_step(ask(said, before))[field] == value


def test_a_denial_with_a_person_in_it_switches_nothing_off(ask: Any) -> None:
    assert not isinstance(ask("I would not promote it", "roll out the last engine to desk"), Proposal)


def test_the_same_is_asked_of_another_endpoint(ask: Any) -> None:
    found = ask("and on desk?", "what is live on shop?")
    assert found.text.startswith("desk:")


@pytest.mark.parametrize(
    ("said", "before"),
    [
        ("do something else with it", "build an engine from the last checkpoint"),
        ("build something else from it", "build an engine from the last checkpoint"),
        ("try anything else", "evaluate the last checkpoint on tickets"),
        ("do whatever you want with it", "deploy the last engine to desk"),
    ],
)
def test_what_is_left_open_is_no_plan(ask: Any, said: str, before: str) -> None:
    assert isinstance(ask(before), Proposal)
    assert isinstance(ask(said, before), Question | Declined)


@pytest.mark.parametrize(
    ("said", "held"),
    [
        ("clean raw/mails.jsonl and masking the personal data in it", {"personal_data": "mask"}),
        ("clean raw/mails.jsonl and mask personl data", {"personal_data": "mask"}),
        ("roll out the last engine to desk, at 5 and 60 percent, an hour per stage", {"stage_minutes": 60}),
        ('search me in the last dataset rows similar to "cancel my order"', {"like": "cancel my order"}),
    ],
)
def test_what_is_said_is_in_the_plan(ask: Any, said: str, held: dict[str, Any]) -> None:
    assert held.items() <= only_step(ask(said)).items()


@pytest.mark.parametrize("said", ["gorp the personal data", "frob personl data"])
def test_a_word_before_a_field_that_got_no_value_is_asked_about(ask: Any, said: str) -> None:
    reply = ask(f"clean raw/mails.jsonl and {said}")
    assert isinstance(reply, Question) and said.split()[0] in reply.text


def test_a_model_is_no_file_of_that_name(ask: Any) -> None:
    reply = ask("Please train the tiny model for ten epochs.")
    assert isinstance(reply, Question) and (reply.draft or {})["asked"]["field"] == "data"
    (step,) = (reply.draft or {})["steps"]
    assert step["with"] == {"base": "tiny", "epochs": 10}


def test_in_front_of_it_names_no_endpoint(ask: Any) -> None:
    step = only_step(ask("put the rails in front of it too", "deploy the last engine to desk"))
    assert step["endpoint"] == "desk" and step["guardrails"].startswith("guardrails:")


def test_before_that_is_the_one_made_before_what_was_spoken_of(ask: Any) -> None:
    last = only_step(ask("evaluate the last checkpoint on tickets"))["model"]
    older = only_step(ask("and the checkpoint before that", "evaluate the last checkpoint on tickets"))[
        "model"
    ]
    assert older == only_step(ask("evaluate the previous checkpoint on tickets"))["model"] != last
    alone = ask("build an engine from the checkpoint before that")
    assert isinstance(alone, Question) and (alone.draft or {})["asked"]["field"] == "model"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("five hundred steps", "500 steps"),
        ("two thousand five hundred", "2500"),
        ("2 thousand steps, twenty-five epochs", "2000 steps , 25 epochs"),
        ("one hundred and fifty", "150"),
        ("a hundred steps", "100 steps"),
        ("a thousand million", "1000000000"),
        ("eleven epochs", "11 epochs"),
        ("one and two", "one and two"),
        ("two hundred and then three", "200 and then three"),
    ],
)
def test_numbers_of_several_words_are_one_number(lexicon: Lexicon, said: str, meant: str) -> None:
    assert read(lexicon, said) == meant


@pytest.mark.parametrize("said", ["several hundred steps", "a dozen epochs", "three and a half epochs"])
def test_a_count_that_is_not_known_is_asked_about(ask: Any, said: str) -> None:
    assert isinstance(ask(f"train tiny on the last dataset for {said}"), Question)


def test_the_record_is_asked_whether_it_is_sound(ask: Any) -> None:
    assert ask("is the record sound").text == ask("is the record intact").text
