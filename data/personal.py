"""Personal data that a pattern can tell: where it stands, and the text with it masked.

Patterns find what has a form (addresses, numbers with a check digit); names and places have none and are not
found.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple
from unicodedata import category, is_normalized, normalize

from .check_digits import iban_checks, luhn
from .sample import Sample


class PersonalData(NamedTuple):
    """A piece of personal data in a text: its kind, and from which character to before which."""

    kind: str
    start: int
    end: int


def _is_card(number: str) -> bool:
    """Whether a number is as long as a card's (ISO/IEC 7812-1), and its check digit fits."""
    return 13 <= sum(char.isdigit() for char in number) <= 19 and luhn(number)


def _is_address(number: str) -> bool:
    try:
        ipaddress.ip_address(number)
    except ValueError:
        return False
    return True


def _is_phone(number: str) -> bool:
    """Whether a number has as many digits as a phone number (ITU-T E.164: 15 at most)."""
    return 8 <= sum(char.isdigit() for char in number) <= 15


_EMAIL = re.compile(r"[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"(?<![\d.+])\d(?:[ -]?\d){12,18}(?![\d.]\d|\d)")
_IP = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]\d|\d)")
_SSN = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_PHONE_ABROAD = re.compile(r"(?<![\w+])\+\d(?:[ .-]?\(?\d\)?){7,14}(?!\w)")
_PHONE_AT_HOME = re.compile(r"(?<![\w.-])(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4}(?![\w-])")
_MAY_HOLD_SOME = re.compile(r"[@\d]")  # what each of these has
_FOUND: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("email", _EMAIL, lambda found: True),
    ("iban", _IBAN, iban_checks),
    ("card", _CARD, _is_card),
    ("ip_address", _IP, _is_address),
    ("us_ssn", _SSN, lambda found: True),
    ("phone", _PHONE_ABROAD, _is_phone),
    ("phone", _PHONE_AT_HOME, _is_phone),
)
PLACEHOLDER = re.compile("<(?:{})>".format("|".join(dict.fromkeys(kind for kind, _, _ in _FOUND))))


def find_personal_data(text: str) -> list[PersonalData]:
    """E-mail and IP addresses, IBANs, card, US social security and phone numbers; none overlap.

    Characters wide or unseen (zero width) hide nothing. Phone numbers are those with a country code, and
    those of North America. In order of their place. What may be two things is the first of these that fits.
    """
    folded, places = _folded(text)
    if places is not None:
        inside = ((one.kind, places[one.start], places[one.end - 1] + 1) for one in _find(folded))
        return [PersonalData(*one) for one in inside]
    return _find(text)


def _find(text: str) -> list[PersonalData]:
    found: list[PersonalData] = []
    if not _MAY_HOLD_SOME.search(text):
        return found
    for kind, pattern, holds in _FOUND:
        for match in pattern.finditer(text):
            start, end = match.span()
            free = all(end <= one.start or start >= one.end for one in found)
            if free and holds(match[0]):
                found.append(PersonalData(kind, start, end))
    return sorted(found, key=lambda one: one.start)


def _folded(text: str) -> tuple[str, list[int] | None]:
    """The text with wide and styled characters plain, and without those that nobody sees; where each stood.

    None in place of the places where nothing changes.
    """
    if text.isascii() or (is_normalized("NFKC", text) and not any(category(one) == "Cf" for one in text)):
        return text, None
    chars = [
        (plain, at)
        for at, char in enumerate(text)
        if category(char) != "Cf"
        for plain in normalize("NFKC", char)
    ]
    return "".join(plain for plain, _ in chars), [at for _, at in chars]


def mask(text: str) -> str:
    """The text with `<kind>` in place of each piece of personal data; the same text when there is none."""
    return "".join(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    at = 0
    for kind, start, end in find_personal_data(text):
        yield text[at:start]
        yield f"<{kind}>"
        at = end
    yield text[at:]


def masked_group(group: str) -> str:
    """A group's name without personal data: one that holds some becomes a digest, and stays different."""
    plain = mask(group)
    return plain if plain == group else f"{plain} {hashlib.sha256(group.encode()).hexdigest()[:16]}"


def mask_sample(sample: Sample) -> Sample:
    """The sample with personal data masked in all that is said or quoted, tool calls, tags, id and group."""
    return replace(
        sample,
        id=mask(sample.id),
        group=None if sample.group is None else masked_group(sample.group),
        tags={name: mask(value) for name, value in sample.tags.items()},
        messages=tuple(_masked(one) for one in sample.messages),
        targets=tuple(map(mask, sample.targets)),
        contexts=tuple(map(mask, sample.contexts)),
        choices=tuple(map(mask, sample.choices)),
        rejected=tuple(map(mask, sample.rejected)),
    )


def _masked(value: Any) -> Any:
    """A message, or any part of one, with the texts in it masked."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked(one) for one in value]
    if isinstance(value, dict):
        return {name: _masked(one) for name, one in value.items()}
    return value
