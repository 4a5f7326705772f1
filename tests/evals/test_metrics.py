from __future__ import annotations

import pytest

from opswright.evals.metrics import confusions, exact_match, macro_f1

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
    assert exact_match(expected, got)


@pytest.mark.parametrize("got", ["transfer-money", "transfer money.", "transfer", "", None])
def test_everything_else_does(got: str | None) -> None:
    assert not exact_match("transfer_money", got)


def test_labels_of_nothing_but_underscores_are_told_apart() -> None:
    assert exact_match("__", "__") and not exact_match("__", "_") and not exact_match("_", "")


@pytest.mark.parametrize("got", ['{"top k": 5}', '{"TOP_K": 5}', '{"top_k":  5}', None])
def test_free_text_is_compared_byte_for_byte(got: str | None) -> None:
    assert exact_match('{"top_k": 5}', ' {"top_k": 5}\n', "generate")
    assert not exact_match('{"top_k": 5}', got, "generate")


def test_macro_f1_counts_a_rare_label_as_much_as_a_common_one() -> None:
    assert macro_f1(["a", "a", "a", "b"], ["a", "a", "a", "a"]) == pytest.approx((6 / 7 + 0) / 2)
    assert macro_f1(["a", "b"], ["a", "b"]) == 1.0
    assert macro_f1([], []) == 0.0


def test_confusions_name_the_most_frequent_wrong_answers() -> None:
    assert confusions([("a", "b"), ("b", None), ("a", "b")]) == [("a", "b", 2), ("b", "(no answer)", 1)]
