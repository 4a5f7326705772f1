"""Numbers that carry check digits: whether they fit."""

from __future__ import annotations


def luhn(number: str) -> bool:
    """Whether the digits of a text, not all one digit, satisfy the Luhn formula (ISO/IEC 7812-1, annex B)."""
    digits = [int(char) for char in number if char.isdigit()]
    doubled = (d if at % 2 == 0 else d * 2 - 9 * (d > 4) for at, d in enumerate(reversed(digits)))
    return len(set(digits)) > 1 and sum(doubled) % 10 == 0


def iban_checks(number: str) -> bool:
    """Whether a text is an IBAN whose check digits fit (ISO 13616: the rearranged number modulo 97 is 1)."""
    packed = number.replace(" ", "").upper()
    moved = packed[4:] + packed[:4]
    return 15 <= len(packed) <= 34 and int("".join(str(int(char, 36)) for char in moved)) % 97 == 1
