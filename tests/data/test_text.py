from __future__ import annotations

import pytest

from opswright.data.text import fingerprint


@pytest.mark.parametrize("text", ["What's my balance?", "whats  MY balance", "what\u2019s_my_balance..."])
def test_case_punctuation_and_spaces_do_not_make_another_sentence(text: str) -> None:
    assert fingerprint(text) == "whats my balance"


@pytest.mark.parametrize(
    "texts",
    [
        (
            "7 + 3",
            "7 - 3",
            "7 * 3",
            "7 / 3",
            "7 3",
            "73",
            "7.3",
            "7,3",
            "7:3",
            "7^3",
            "(7 + 3) * 2",
            "7 + 3 * 2",
        ),
        ("C", "C++", "C#", ".C", "!C", "C'(x)", "C(x)", "C[x]", "C_1", "-C", "$C", "C%", "@C"),
        ("5", "5!", "5'", '5"', "5%", "-5", ".5", "\u20ac5", "5\u00b2", "52", "5\u00bd"),
        ("\u0915\u093f", "\u0915\u0941", "\u0915"),  # Hindi vowel signs
        ("\u0e01\u0e34", "\u0e01\u0e38", "\u0e01"),  # Thai ones
        ("re\u0301sume\u0301", "resume"),
        ("x == y", "x != y", "x <= y", "x < y", "x y", "x-y", "x && y", "x & y"),
        ("good \U0001f600", "good \U0001f621", "good"),
        ("node.js", "nodejs", "a/b", "a b"),
    ],
)
def test_what_changes_the_meaning_makes_another_text(texts: tuple[str, ...]) -> None:
    assert len({fingerprint(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    "texts",
    [
        ("pay \u201cmy\u201d bill!", "Pay 'my' bill", "pay my bill...", "  PAY\tmy\nbill ?!"),
        ("state-of-the-art", "state of the art"),
        ("caf\u00e9", "cafe\u0301", "CAF\u00c9."),
        ("\uff30\uff21\uff39 it", "pay it"),
        ("\u00bfd\u00f3nde?", "d\u00f3nde"),
        ("2 + 2", "2+2", "2 +2?"),
        ("it is 5.", "it is 5", "it is 5?"),
        ("\u0928\u092e\u0938\u094d\u0924\u0947\u0964", "\u0928\u092e\u0938\u094d\u0924\u0947"),
    ],
)
def test_what_does_not_change_the_meaning_makes_the_same(texts: tuple[str, ...]) -> None:
    assert len({fingerprint(text) for text in texts}) == 1


def test_another_word_order_script_or_sign_does() -> None:
    assert fingerprint("balance my whats") != fingerprint("whats my balance")
    assert fingerprint("баланс") != fingerprint("остаток")
    assert fingerprint("?") != fingerprint("!")
