from __future__ import annotations

from typing import Any

import pytest

from opswright.core.errors import BackendError, IntegrityError
from opswright.data.sample import Sample
from opswright.evals.report import by_slice, details_of, facts_of, figure, latencies
from opswright.evals.runner import EvalResult, choose_items, read_lines, run_suite, to_lines
from opswright.evals.suites import Suite

RIGHT = {
    "what is my balance": "Balance",
    "move 5 dollars": "balance",
    "play some jazz": "play music",
    "add milk to the list": "gibberish",
}


def run(suite: Suite, target: Any, limit: int | None = None) -> EvalResult:
    return run_suite(suite, target, "checkpoint:x", slices=suite.slices(), limit=limit)


def test_every_item_is_asked_once_scored_and_put_into_its_slices(suite: Suite, parrot: Any) -> None:
    measured = run(suite, parrot(RIGHT))
    assert [item.is_correct("exact_match") for item in measured.items] == [True, False, True, False]
    assert [item.is_correct("known_label") for item in measured.items] == [True, True, True, False]
    assert measured.items[0].slices == ("banking", "money")
    found = by_slice(measured)
    assert {name: one["value"] for name, one in found.items()} == {"banking": 0.5, "home": 0.5, "money": 0.5}


def test_a_model_that_learned_its_labels_with_spaces_is_judged_right(parrot: Any) -> None:
    items = (
        Sample.of("a", "fly me to oslo", "book_flight"),
        Sample.of("b", "the rest", "what_is_left"),
    )
    said = {"fly me to oslo": "book flight", "the rest": "Book_flight"}
    measured = run(Suite("toy", items), parrot(said))
    assert [tuple(item.scores.values()) for item in measured.items] == [(1, 1), (0, 1)]
    free = run(Suite("toy", items, task="generate"), parrot(said))
    assert [item.is_correct("exact_match") for item in free.items] == [False, False]
    assert free.metric == "token_f1" and free.items[0].score("token_f1") == 1
    assert details_of(free)["confusions"][0]["expected"] == "what_is_left"


def test_the_same_random_items_are_chosen_for_every_model(suite: Suite, parrot: Any) -> None:
    first, second = parrot(RIGHT), parrot(RIGHT)
    run(suite, first, limit=2)
    run(suite, second, limit=2)
    assert first.asked == second.asked and len(first.asked) == 2
    assert len(choose_items(suite, 99)) == 4


def test_an_item_without_an_answer_is_wrong_and_counted_as_an_error(suite: Suite, parrot: Any) -> None:
    silent = run(suite, parrot({**RIGHT, "play some jazz": None}))  # the prompt did not fit
    assert (silent.errors, silent.refused) == (0, 1) and not silent.items[2].is_correct("exact_match")
    measured = run(suite, parrot({ask: said for ask, said in RIGHT.items() if ask != "play some jazz"}))
    assert (
        measured.errors == 1
        and measured.items[2].error == "refused"
        and not measured.items[2].is_correct("exact_match")
    )
    assert details_of(measured)["failures"] == ["refused"]


def test_a_target_that_answers_nothing_at_all_is_a_failure_not_a_score(suite: Suite, parrot: Any) -> None:
    with pytest.raises(BackendError, match=r"none of 4 prompts.*refused"):
        run(suite, parrot({}))


def test_items_come_back_from_their_file_as_they_went(suite: Suite, parrot: Any) -> None:
    measured = run(suite, parrot(RIGHT))
    assert read_lines(to_lines(measured.items)) == measured.items
    with pytest.raises(IntegrityError, match="damaged"):
        read_lines(b'{"id": "x"}\n')


def test_figures_come_with_their_interval_and_say_nothing_of_no_items(suite: Suite, parrot: Any) -> None:
    measured = run(suite, parrot(RIGHT))
    facts = facts_of(measured, 4, {"majority": measured})
    assert facts["value"] == 0.5 and facts["low"] < 0.5 < facts["high"] and facts["n"] == 4
    assert facts["baselines"]["majority"]["slices"]["home"]["n"] == 2
    assert figure([]) == {"n": 0, "value": None, "low": 0.0, "high": 1.0}
    assert set(details_of(measured)["metrics"]) == {"exact_match", "known_label"}
    assert details_of(measured)["metrics"]["known_label"]["value"] == 0.75


def test_latency_leaves_out_what_was_not_answered(suite: Suite, parrot: Any) -> None:
    measured = run(suite, parrot({k: v for k, v in RIGHT.items() if k != "play some jazz"}, latency_ms=7.0))
    assert latencies(measured.items) == {"p50": 7.0, "p95": 7.0}
    assert latencies([]) == {"p50": None, "p95": None}


def test_answers_that_were_cut_are_counted_and_kept_apart(suite: Suite, parrot: Any) -> None:
    engine = parrot(RIGHT, finish="length")
    measured = run_suite(suite, engine, "checkpoint:x", slices=suite.slices(), max_new_tokens=7)
    assert measured.cut == 4 and run(suite, parrot(RIGHT)).cut == 0
    assert engine.options[0].max_tokens == 7 and engine.options[0].is_greedy
    assert facts_of(measured, 4, {})["cut"] == 4 and read_lines(to_lines(measured.items)) == measured.items


def test_white_space_around_an_answer_is_not_the_answer(suite: Suite, parrot: Any) -> None:
    measured = run(suite, parrot({ask: f" {said}\n" for ask, said in RIGHT.items()}))
    assert [item.got for item in measured.items] == list(RIGHT.values())
