"""Text from outside as a person may be shown it."""

from __future__ import annotations

import json

import pytest

from opswright.core.text import escaped, escaped_json, one_line, says_something, unseen_in

HOSTILE = [
    "\x1b[2K",
    "\x00",
    "\x7f",
    "\x9b1A",
    "\u202eevil",
    "\u2066x",
    "\u200b",
    "\ufeff",
    "\u2028",
    "\u3164",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_moves_hides_or_turns_text_is_found_and_shown_as_its_escape(text: str) -> None:
    assert unseen_in(f"fine {text}")
    assert escaped(f"fine {text}").startswith("fine \\") and not unseen_in(escaped(text))
    document = escaped_json(json.dumps({"a": f"fine {text}"}, ensure_ascii=False, indent=1))
    assert json.loads(document) == {"a": f"fine {text}"} and not unseen_in(document.replace("\n", ""))


@pytest.mark.parametrize(
    "text", ["Über", "数据 модель", "\u0645\u06cc\u200c\u062e", "👩\u200d🔬", "a\u00a0b"]
)
def test_plain_words_of_any_language_stay_as_they_are(text: str) -> None:
    assert escaped(text) == text and not unseen_in(text)


def test_a_word_says_something() -> None:
    assert says_something("Über 80 %") and says_something("数据")


@pytest.mark.parametrize("text", ["", " ", "...", "\u200b", "\u3164\u3164", "\u2800"])
def test_a_text_without_a_letter_or_digit_to_see_says_nothing(text: str) -> None:
    assert not says_something(text)


def test_line_breaks_fold_into_one_space_and_other_spaces_stay() -> None:
    assert one_line("  one\r\n\ttwo  three \n") == "one two  three"
    assert escaped("a\tb\nc\x1b", keep="\n\t") == "a\tb\nc\\x1b"
