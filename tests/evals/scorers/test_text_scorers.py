from __future__ import annotations

from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.data.sample import Sample, Task
from opswright.evals.scorers import Score, ScorerSpec, ScoringContext, load_scorer


def score(name: str, answer: str, *targets: str, task: Task = "generate", **parameters: Any) -> Score:
    choices = parameters.pop("choices", ())
    made = load_scorer(ScorerSpec(name, parameters), ScoringContext(task, ("book_flight", "balance")))
    return made.score(Sample.of("1", "q", *targets, choices=choices), answer)


SPELLINGS = [
    "transfer_money",
    "transfer money",
    "  Transfer\n money ",
    "\uff34ransfer money",
    "Transfer_ money",
]


@pytest.mark.parametrize("expected", SPELLINGS)
@pytest.mark.parametrize("got", SPELLINGS)
def test_case_width_white_space_and_underscores_do_not_matter_between_labels(expected: str, got: str) -> None:
    assert score("exact_match", got, expected, task="classify").value == 1


@pytest.mark.parametrize("got", ["transfer-money", "transfer money.", "transfer", ""])
def test_everything_else_does(got: str) -> None:
    assert score("exact_match", got, "transfer_money", task="classify").value == 0


def test_labels_of_nothing_but_underscores_are_told_apart() -> None:
    assert score("exact_match", "__", "__", task="classify").value == 1
    assert score("exact_match", "_", "__", task="classify").value == 0
    assert score("exact_match", "", "_", task="classify").value == 0


@pytest.mark.parametrize("got", ['{"top k": 5}', '{"TOP_K": 5}', '{"top_k":  5}'])
def test_free_text_is_compared_byte_for_byte(got: str) -> None:
    assert score("exact_match", ' {"top_k": 5}\n', '{"top_k": 5}').value == 1
    assert score("exact_match", got, '{"top_k": 5}').value == 0


@pytest.mark.parametrize(
    ("name", "answer", "targets", "parameters", "value"),
    [
        ("exact_match", "b", ("a", "b"), {}, 1),  # any right answer
        ("known_label", "Book flight", ("x",), {}, 1),
        ("known_label", "nonsense", ("x",), {}, 0),
        ("normalised_match", "THE  Eiffel\ttower", ("the eiffel tower",), {}, 1),
        ("normalised_match", "the Eiffel tower.", ("the eiffel tower",), {}, 0),
        ("normalised_match", "the Eiffel, tower.", ("the eiffel tower",), {"ignore_punctuation": True}, 1),
        ("normalised_match", "7 - 3", ("7 + 3",), {"ignore_punctuation": True}, 0),
        ("contains", "It is PARIS, I think", ("Paris",), {}, 1),
        ("contains", "It is PARIS", ("Paris",), {"ignore_case": False}, 0),
        ("contains", "I am sorry, no", ("x",), {"text": "sorry"}, 1),
        ("regex", "on 2026-11-21", (), {"pattern": r"\d{4}-\d\d-\d\d"}, 1),
        ("regex", "on 2026-11-21", (), {"pattern": r"\d{4}-\d\d-\d\d", "whole": True}, 0),
        ("numeric", "So 1,200 + 34 = 1,234.00 dollars", ("1234",), {}, 1),
        ("numeric", "no idea", ("1234",), {}, 0),
        ("numeric", "#### \u22123", ("... so #### -3",), {}, 1),
        ("numeric", "0.30000000000000001", ("0.3",), {}, 0),
        ("numeric", "3.14", ("3.14159",), {"tolerance": "0.01"}, 1),
        ("numeric", "99", ("100",), {"relative_tolerance": 0.02}, 1),
        ("numeric", "from 3-5", ("5",), {}, 1),
        ("token_f1", "the cat sat", ("the cat",), {}, 0.8),
        ("token_f1", "", ("the cat",), {}, 0),
        ("token_f1", "C", ("C#",), {}, pytest.approx(2 / 3)),
        ("rouge_l", "the cat is on the mat", ("the cat on the mat",), {}, pytest.approx(10 / 11)),
        ("rouge_l", "привет мир", ("привет мир",), {}, 1),
        ("rouge_l", "नमस्ते दुनिया", ("नमस्ते दुनिया",), {}, 1),
        ("rouge_l", "नमस्ता दुनिया", ("नमस्ते दुनिया",), {}, 0.5),
        ("token_f1", "今日は雨", ("今日は晴れ",), {}, pytest.approx(6 / 9)),
        ("bleu", "two words", ("two words",), {}, 1),
        ("bleu", "今天 下雨", ("今天 下雨",), {"tokenize": "zh"}, 1),
        ("chrf", "привет", ("привет",), {}, 1),
        ("chrf", "xyz", ("abc",), {}, 0),
        ("edit_similarity", "kitten", ("sitting",), {}, pytest.approx(1 - 3 / 7)),
        ("edit_similarity", "Kitten", ("kitten",), {}, pytest.approx(1 - 1 / 6)),
    ],
)
def test_a_scorer_gives_what_its_name_says(
    name: str, answer: str, targets: tuple[str, ...], parameters: dict[str, Any], value: Any
) -> None:
    found = score(name, answer, *targets, **parameters)
    assert found.value == value and found.fault is None


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("Paris", 1),
        ("paris ", 1),
        ("B", 1),
        ("(b)", 1),
        ("B. Paris", 1),
        ("B) Paris is it", 1),
        ("Let me think. Answer: B", 1),
        ("The answer is (B).", 1),
        ("A", 0),
        ("Answer: A. No, wait. Answer: B", 1),
        ("I would go to Paris", 0),  # named in passing: not a choice
        ("Answer: (b)", 1),
        ("my answer is b.", 1),
        ("The answer is b matter of taste", 0),
        ("Z", 0),
        ("A Parisian would know", 0),
        ("", 0),
    ],
)
def test_a_choice_is_named_by_its_text_or_its_letter(answer: str, value: float) -> None:
    assert score("choice", answer, "Paris", choices=("London", "Paris", "Rome")).value == value
    assert score("choice", answer, "B", choices=("London", "Paris", "Rome")).value == value


def test_what_cannot_be_scored_is_not_zero() -> None:
    assert score("exact_match", "anything") == Score(None)  # no right answer is known
    assert score("choice", "B", "Paris") == Score(None)  # nothing to choose from
    lost = score("choice", "B", "Oslo", choices=("London", "Paris"))
    assert lost.value is None and "no right answer is one of the choices" in str(lost.fault)
    assert "holds no number" in str(score("numeric", "3", "three").fault)


def test_of_an_answer_a_scorer_may_take_a_part() -> None:
    spec = ScorerSpec("exact_match", take=r"ANSWER: (\w+)")
    made = load_scorer(spec, ScoringContext("generate"))
    sample = Sample.of("1", "q", "yes")
    said = ["ANSWER: no ... ANSWER: yes", "ANSWER: no", "yes"]
    assert [made.score(sample, one).value for one in said] == [1, 0, 0]


def test_a_pattern_that_never_ends_is_a_fault_of_its_answer() -> None:
    found = score("regex", "a" * 60 + "!", pattern=r"^(a|a|aa)+$")
    assert found.value in (0, None)  # the engine may see through it; it may not hang
    with pytest.raises(AskError, match=r"invalid pattern '\('"):
        score("regex", "x", pattern="(")


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("exact_macth", {}, "Did you mean 'exact_match'"),
        (
            "numeric",
            {"tolerence": 1},
            r"no parameter 'tolerence' \(it takes: tolerance.*Did you mean 'tolerance'",
        ),
        ("numeric", {"tolerance": -1}, "0 or more"),
        ("numeric", {"tolerance": "NaN"}, "scorer numeric"),
        ("exact_match", {"x": 1}, "it takes none"),
        ("regex", {}, "pattern: Missing required argument"),
        ("bleu", {"tokenize": "klingon"}, "scorer bleu: tokenize"),
        ("contains", {"text": " "}, "empty"),
    ],
)
def test_a_scorer_that_is_named_wrongly_is_refused(name: str, parameters: Any, message: str) -> None:
    with pytest.raises(AskError, match=message):
        score(name, "x", "x", **parameters)
