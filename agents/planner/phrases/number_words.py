"""Numbers of several words as one number: "five hundred", "twenty-five", "2 thousand"."""

from __future__ import annotations

import re

from .text import Token

_UNITS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10,
    "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
    "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90,
}  # fmt: skip
_TIMES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
NUMBER_WORDS = frozenset({*_UNITS, *_TENS, *_TIMES, "half", "quarter", "dozen"})
_FIGURE = re.compile(r"\d{1,6}(?:\.\d{1,3})?")
_HYPHENED = {f"{ten}{unit}": _TENS[ten] + _UNITS[unit] for ten in _TENS for unit in list(_UNITS)[:9]}


def counted(tokens: list[Token]) -> list[Token]:
    """The tokens, each number of several words as one in figures; up to ten a word alone stays one."""
    found: list[Token] = []
    at = 0
    while at < len(tokens):
        end, value = _number_at(tokens, at)
        if value is None:
            found.append(tokens[at])
            at += 1
            continue
        text = str(int(value)) if value == int(value) else str(value)
        found.append(Token(text, "number", text))
        at = end
    return found


_ROWS = ("last", "latest", "past", "first", "newest")


def _number_at(tokens: list[Token], start: int) -> tuple[int, float | None]:
    """Where a number of several words that begins here ends, and the number; None where none does."""
    keys = [token.key for token in tokens[start : start + 12]]
    if not keys:
        return start, None
    if (hyphened := _HYPHENED.get(keys[0])) is not None:
        keys[0], at, part = "", 1, float(hyphened)
    elif keys[0] in _TIMES and start and tokens[start - 1].key in _ROWS:
        return start + 1, float(_TIMES[keys[0]])
    elif keys[0] in ("a", "one") and keys[1:2] and keys[1] in _TIMES:
        at, part = 1, 1.0
    elif tokens[start].kind == "number" and _FIGURE.fullmatch(keys[0]) and keys[1:2] and keys[1] in _TIMES:
        at, part = 1, float(keys[0])
    else:
        at, part = _below_hundred(keys, 0)
    if at == 0:
        return start, None
    total = 0.0
    while at < len(keys):
        if keys[at] in _TIMES:
            times = _TIMES[keys[at]]
            if times > 100 and not part:
                total *= times  # "a thousand million"
            else:
                total, part = (total, part * times) if times == 100 else (total + part * times, 0.0)
            at += 1
            continue
        behind = at + (keys[at] == "and" and keys[at - 1] in _TIMES)
        more, value = _below_hundred(keys, behind)
        if more == behind or keys[at - 1] not in _TIMES:
            break
        at, part = more, part + value
    is_one_word = at == 1 and keys[0] != "" and part <= 10  # "one" and the like are also plain words
    return (start, None) if is_one_word else (start + at, total + part)


def _below_hundred(keys: list[str], at: int) -> tuple[int, float]:
    """Where a number below a hundred that stands at a place ends, and what it is; the place for none."""
    if at >= len(keys):
        return at, 0.0
    if keys[at] in _HYPHENED:
        return at + 1, float(_HYPHENED[keys[at]])
    if keys[at] in _UNITS:
        return at + 1, float(_UNITS[keys[at]])
    if keys[at] not in _TENS:
        return at, 0.0
    unit = _UNITS.get(keys[at + 1], 10) if at + 1 < len(keys) else 10
    return (at + 2, float(_TENS[keys[at]] + unit)) if unit < 10 else (at + 1, float(_TENS[keys[at]]))
