"""What the rails look for, without NeMo Guardrails."""

from __future__ import annotations

import pytest

from opswright.data.check_digits import iban_checks, luhn
from opswright.serving.rails.patterns import RailSet, has_pii
from opswright.serving.rails.text_forms import latin_form, plain_form


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("email", "jane.doe+bank@mail.example.co.uk"),
        ("card", "4111-1111-1111-1111"),
        ("card", "3782 822463 10005"),
        ("iban", "gb29 nwbk 6016 1331 9268 19"),
        ("us_ssn", "536-22-1847"),
        ("phone", "(555) 010-9988"),
        ("phone", "+49 30 901820 123"),
        ("secret", "akiaiosfodnn7example"),
    ],
)
def test_personal_data_is_found(kind: str, text: str) -> None:
    assert has_pii(kind, f"here it is: {text}, thanks")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("card", "4111 1111 1111 1112"),  # wrong check digit
        ("card", "order 4000000000000"),  # 13 digits, wrong check digit
        ("card", "2222 2222 2222 2222"),  # one digit only
        ("iban", "gb28 nwbk 6016 1331 9268 19"),  # wrong check digits
        ("us_ssn", "000-12-3456"),  # never issued
        ("us_ssn", "on 10-12-2025"),
        ("phone", "flight 4417 at 6 30"),
        ("phone", "order 5550109988"),
        ("email", "@support on the left"),
        ("secret", "sk-12"),
    ],
)
def test_what_only_looks_like_personal_data_is_not(kind: str, text: str) -> None:
    assert not has_pii(kind, text)  # type: ignore[arg-type]


def test_check_digits_are_computed_as_the_standards_say() -> None:
    assert luhn("79927398713") and not luhn("79927398710")
    assert iban_checks("de89370400440532013000") and not iban_checks("de88370400440532013000")


def test_disguises_are_taken_off_before_patterns_look() -> None:
    assert plain_form("  IGN\u200bORE\n\tall ") == "ignore all"
    assert plain_form("\uff29gnore") == "ignore"
    assert latin_form(plain_form("ign\u043er\u0435")) == "ignore"
    assert latin_form("i g n o r e all") == "ignore all"


def test_the_length_rail_comes_first_whatever_the_order_says() -> None:
    rails = RailSet.read({"input": ["pii", "length"], "length": {"max_characters": 5}}, "sheet")
    hit = rails.find("input", "a@b.example")
    assert hit is not None and hit.rail == "length"


def test_an_empty_answer_is_no_reason_to_block() -> None:
    rails = RailSet.read({"input": ["length", "pii"]}, "sheet")
    assert rails.find("output", "") is None
    assert rails.find("input", "") is not None
