from __future__ import annotations

import pytest

from opswright.evals.metrics import confusions, exact_match, macro_f1


@pytest.mark.parametrize("got", ["transfer money", "  Transfer\n money ", "\uff34ransfer money"])
def test_case_width_and_white_space_do_not_matter(got: str) -> None:
    assert exact_match("transfer money", got)


@pytest.mark.parametrize("got", ["transfer_money", "transfer money.", "transfer", "", None])
def test_everything_else_does(got: str | None) -> None:
    assert not exact_match("transfer money", got)


def test_macro_f1_counts_a_rare_label_as_much_as_a_common_one() -> None:
    assert macro_f1(["a", "a", "a", "b"], ["a", "a", "a", "a"]) == pytest.approx((6 / 7 + 0) / 2)
    assert macro_f1(["a", "b"], ["a", "b"]) == 1.0
    assert macro_f1([], []) == 0.0


def test_confusions_name_the_most_frequent_wrong_answers() -> None:
    assert confusions(["a", "a", "b", "c"], ["b", "b", None, "C"]) == [("a", "b", 2), ("b", "(no answer)", 1)]
