"""Instructions that can be checked without a model."""

from __future__ import annotations

from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.data.sample import Sample
from opswright.evals.scorers import Score, ScorerSpec, ScoringContext, load_scorer


def score(wanted: Any, answer: str, name: str = "constraints", **parameters: Any) -> Score:
    scorer = load_scorer(ScorerSpec(name, parameters), ScoringContext("generate"))
    return scorer.score(Sample.of("s", "q", metadata={"constraints": wanted}), answer)


@pytest.mark.parametrize(
    ("wanted", "holds", "fails"),
    [
        ({"min_words": 2, "max_words": 3}, "well-known fact", "one"),
        ({"max_words": 3}, "one, two - three!", "one two three four"),
        ({"max_words": 4}, "\u4eca\u5929\u5f88\u597d", "\u4eca\u5929\u5f88\u597d\u5417"),
        ({"min_characters": 3, "max_characters": 5}, " four ", "no"),
        ({"max_sentences": 1}, 'He said "3.5 is e.g.fine".', "One. Two"),
        ({"min_sentences": 2}, "One! Two", "One only"),
        ({"paragraphs": 2}, "a\n\nb", "a\nb"),
        ({"bullets": 2}, "So:\n- a\n2) b", "- a\n- b\n- c"),
        ({"include": ["Tea"], "exclude": ["milk"]}, "green tea", "tea with Milk"),
        ({"starts_with": "Dear", "ends_with": "you."}, "Dear all, thank you.", "dear all, thank you."),
        ({"case": "lower"}, "no capitals, 3", "One"),
        ({"case": "upper"}, "LOUD!", "LOUd"),
        ({"form": "json"}, '{"a": 1}', "{'a': 1}"),
        ({"form": "code"}, "```py\nx = 1\n```", "x = 1"),
        ({"form": "heading"}, "# Title\ntext", "Title"),
        ({"form": "one_line"}, "a", "a\nb"),
        ({"commas": False}, "a and b", "a, b"),
        ({"script": "cyrillic"}, "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440", "Privet"),
        ({"script": "japanese"}, "\u6f22\u5b57\u3068\u304b\u306a", "kana"),
    ],
)
def test_a_constraint_holds_or_does_not(wanted: Any, holds: str, fails: str) -> None:
    assert score(wanted, holds).value == 1 and score(wanted, fails).value == 0


def test_the_share_counts_each_constraint_and_each_word() -> None:
    wanted = {"include": ["tea", "milk"], "max_words": 2}
    assert score(wanted, "green tea", "constraints_share").value == pytest.approx(2 / 3)


def test_constraints_for_all_come_on_top_and_none_at_all_is_not_scored() -> None:
    assert score({}, "anything") == Score(None)
    assert score({"max_words": 5}, "one two", for_all={"max_words": 1}).value == 0
    assert score({}, "one", for_all={"max_words": 1}).value == 1


@pytest.mark.parametrize("answer", ["", " ", "\ud800", "a" * 200_000, "- " * 50_000, "." * 100_000])
def test_odd_answers_cost_no_fault(answer: str) -> None:
    every = {
        "max_words": 3,
        "max_sentences": 3,
        "bullets": 1,
        "paragraphs": 1,
        "script": "latin",
        "form": "code",
    }
    assert score(every, answer).fault is None


@pytest.mark.parametrize(
    "wanted",
    [{"max_wrods": 3}, {"max_words": "3"}, {"max_words": -1}, {"include": "tea"}, {"form": "xml"}, 3],
)
def test_what_is_no_constraint_is_a_fault_of_its_sample_and_refused_in_a_suite(wanted: Any) -> None:
    assert "constraints of metadata of sample 's'" in str(score(wanted, "a").fault)
    if isinstance(wanted, dict):
        with pytest.raises(AskError, match="constraints of for_all"):
            load_scorer(ScorerSpec("constraints", {"for_all": wanted}), ScoringContext())


def test_an_answer_in_the_words_of_the_right_one_is_nearer_than_another() -> None:
    samples = tuple(
        Sample.of(str(n), f"question {n}", target)
        for n, target in enumerate(
            ["The card was blocked yesterday.", "Your parcel is on its way.", "Please reset the password."]
        )
    )
    scorer = load_scorer(ScorerSpec("embedding_similarity"), ScoringContext("generate", samples=samples))
    same, near, far = (
        scorer.score(samples[0], text).value
        for text in (samples[0].targets[0], "the card is blocked", "a parcel on the way")
    )
    assert same == pytest.approx(1) and same > near > far >= 0  # type: ignore[operator]
    assert scorer.score(samples[0], "").value == 0
