from __future__ import annotations

import pytest

from opswright.data.text import fingerprint


@pytest.mark.parametrize("text", ["What's my balance?", "whats  MY balance", "what\u2019s_my_balance..."])
def test_case_punctuation_and_spaces_do_not_make_another_sentence(text: str) -> None:
    assert fingerprint(text) == "whats my balance"


def test_another_word_order_script_or_sign_does() -> None:
    assert fingerprint("balance my whats") != fingerprint("whats my balance")
    assert fingerprint("баланс") != fingerprint("остаток")
    assert fingerprint("?") != fingerprint("!")
