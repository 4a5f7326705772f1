from __future__ import annotations

import pytest

from opswright.evals.overlap import count_overlap, fingerprint


@pytest.mark.parametrize("text", ["What's my balance?", "whats  MY balance", "what\u2019s_my_balance..."])
def test_case_punctuation_and_spaces_do_not_make_another_sentence(text: str) -> None:
    assert fingerprint(text) == "whats my balance"


def test_another_word_order_script_or_sign_does() -> None:
    assert fingerprint("balance my whats") != fingerprint("whats my balance")
    assert fingerprint("баланс") != fingerprint("остаток")
    assert fingerprint("?") != fingerprint("!")


def test_overlap_is_counted_verbatim_first_then_normalised() -> None:
    train = ["pay my bill", "what time is it", "unrelated"]
    assert count_overlap(train, ["pay my bill", "What time is it?", "new"]) == {
        "verbatim": 1,
        "normalised": 1,
    }
