"""Shortcuts: what a rule that knows one thing gets right, and whether the model is more than that."""

from __future__ import annotations

from typing import cast

import pytest

from opswright.data.sample import Sample, Task
from opswright.engines import GenerationResult
from opswright.evals.runner import EvalResult, score
from opswright.evals.scorers import ScoringContext, load_scorer
from opswright.evals.scorers.registry import default_specs
from opswright.evals.shortcuts import Shortcut, run_shortcuts, shortcut_of

LONG, SHORT = "please could you tell me all about it now", "tell me"
BY_LENGTH = [(f"{LONG} {x}", "long") for x in "abcdefghij"] + [
    (f"{SHORT} {x}", "short") for x in "abcdefghij"
]


def answers(task: str, train: list[tuple[str, str]] | None, asked: list[Sample]) -> dict[str, list[str]]:
    run = run_shortcuts(task, train, asked)  # type: ignore[arg-type]
    return {one.name: list(one.answers) for one in run.baselines}


def measured(task: str, asked: list[Sample], said: list[str]) -> EvalResult:
    scorers = [load_scorer(spec, ScoringContext(task, ())) for spec in default_specs(task)]  # type: ignore[arg-type]
    items = tuple(score(scorers, asked, [GenerationResult(text) for text in said], {}))
    return EvalResult(
        "m", "s", "0" * 64, (), items, task=cast(Task, task), scorers={s.name: s.is_binary for s in scorers}
    )


def test_a_label_that_follows_from_the_length_is_found() -> None:
    asked = [Sample.of("1", f"{LONG} z", "long"), Sample.of("2", f"{SHORT} z", "short")]
    assert answers("classify", BY_LENGTH, asked)["length"] == ["long", "short"]


def test_one_telling_word_for_each_label_is_found_and_the_majority_answers_the_rest() -> None:
    train = [(f"{x} free {x}", "spam") for x in ("win", "get", "buy", "big")]
    train += [(f"lunch with {x} on monday", "ham") for x in ("ann", "bob", "cy", "dan", "eve")]
    asked = [
        Sample.of("1", "a free pen", "spam"),
        Sample.of("2", "monday is fine", "ham"),
        Sample.of("3", "?", "spam"),
    ]
    assert answers("classify", train, asked)["keyword"] == ["spam", "ham", "ham"]


def test_labels_learned_in_a_random_order_are_near_the_majority() -> None:
    asked = [Sample.of(str(n), text, label) for n, (text, label) in enumerate(BY_LENGTH)]
    right = sum(
        got == item.answer
        for got, item in zip(answers("classify", BY_LENGTH, asked)["shuffled"], asked, strict=True)
    )
    assert right < len(asked)  # with the true labels all are right
    again = answers("classify", BY_LENGTH, asked)["shuffled"]
    assert again == answers("classify", BY_LENGTH, asked)["shuffled"]


def test_a_place_that_is_right_most_often_is_found_on_items_it_was_not_learned_from() -> None:
    def choose(at: int, n: int) -> Sample:
        choices = [f"wrong {n} {x}" for x in "abc"]
        choices[at] = f"right {n}"
        return Sample.of(f"{n:02}", f"which {n}", f"right {n}", choices=tuple(choices))

    third = [choose(2, n) for n in range(20)]
    assert answers("choose", None, third)["place"] == [item.answer for item in third]
    halves = [choose(n % 2, n) for n in range(20)]  # each half has a place of its own
    assert not set(answers("choose", None, halves)["place"]) & {item.answer for item in halves}
    passages = [
        Sample.of(f"{n:02}", "when", f"in {n}", contexts=("It rained. Yes.", f"It was in {n}. So."))
        for n in range(20)
    ]
    assert answers("answer", None, passages)["place"] == [f"It was in {n}." for n in range(20)]
    lost = run_shortcuts("answer", None, [Sample.of("1", "when", "never", contexts=("It rained.",))] * 4)
    assert "too few of the choices or passages" in lost.skipped["place"]


def test_choices_that_give_themselves_away_and_passages_that_begin_with_the_answer() -> None:
    asked = [
        Sample.of("1", "q", "blue", choices=("red", "blue")),
        Sample.of("2", "p", "red", choices=("red", "green")),
    ]
    assert answers("choose", [("x", "blue"), ("y", "Blue"), ("z", "green")], asked)["choices_only"] == [
        "blue",
        "green",
    ]
    told = [Sample.of("1", "who?", "Ada", contexts=("Ada wrote it. Bob read it.", "Cy."))]
    found = answers("answer", [("q", "Cy")], told)
    assert found == {"lead": ["Ada wrote it."], "shuffled": ["Cy"]}


@pytest.mark.parametrize("task", ["classify", "choose", "answer", "generate", "chat", "extract", "prefer"])
def test_without_training_rows_only_what_needs_none_is_run(task: str) -> None:
    asked = [Sample.of("1", "q", "a", choices=("a", "b"), contexts=("a. b.",))]
    assert set(answers(task, None, asked)) == ({"lead"} if task == "answer" else set())


def test_texts_without_words_leave_the_rules_that_need_words_out() -> None:
    run = run_shortcuts("classify", [("?", "a"), ("!", "b")], [Sample.of("1", "x", "a")])
    assert [one.name for one in run.baselines] == ["length"] and set(run.skipped) == {"keyword", "shuffled"}


def test_as_many_labels_as_texts_are_no_fault() -> None:
    train = [(f"pay bill{n}", f"bill{n}") for n in range(30)]
    assert set(answers("classify", train, [Sample.of("1", "pay", "pay")])) == {
        "length",
        "keyword",
        "shuffled",
    }


def test_a_model_that_is_no_better_than_a_shortcut_is_told_and_one_that_is_better_is_not() -> None:
    asked = [Sample.of(str(n), f"text {n}", "yes" if n % 2 else "no") for n in range(40)]
    truth = [str(item.answer) for item in asked]
    half = ["yes"] * 40
    rule = measured("classify", asked, half)
    same = shortcut_of("length", measured("classify", asked, half), rule)
    assert isinstance(same, Shortcut) and same.value == 0.5 and not same.is_beaten
    assert same.message.startswith("the model is not shown to be better than a shortcut, length (")
    better = shortcut_of("length", measured("classify", asked, truth), rule)
    assert better is not None and better.is_beaten and better.message == ""
