"""Numbers with their units: "5k steps", "10 %", "2 hours", "rank 8", "a batch size of 32", "1e-4"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .fields import FieldWords
from .text import Token, words

_BETWEEN = words(
    "of to at is be = : the a an with about around roughly exactly only no more than most least up max"
)
_MINUTES = {
    "second": 1 / 60, "sec": 1 / 60, "s": 1 / 60, "minute": 1.0, "min": 1.0,
    "hour": 60.0, "hr": 60.0, "h": 60.0, "day": 1440.0,
}  # fmt: skip
_MONEY = words("$ € dollar dollars usd bucks")
_SPELLED = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10,
    "twelve": 12, "twenty": 20, "thirty": 30, "fifty": 50, "hundred": 100, "half": 0.5, "thousand": 1000,
}  # fmt: skip


@dataclass(frozen=True)
class Amount:
    """A number in a sentence; its unit is percent, minutes, usd, gpu_hours, or else the word behind it."""

    start: int
    end: int
    value: float
    unit: str
    before: tuple[str, ...]  # words before it, nearest last
    after: tuple[str, ...] = ()


def amounts_in(tokens: list[Token], taken: set[int]) -> list[Amount]:
    """Every number that is not part of something else."""
    found = []
    for at in range(len(tokens)):
        value = _value(tokens, at)
        if at in taken or value is None:
            continue
        before = tuple(one.key for one in tokens[max(0, at - 8) : at])
        found.append(_with_unit(tokens, at, value, before))
    return found


def _value(tokens: list[Token], at: int) -> float | None:
    token = tokens[at]
    if token.kind == "number":
        return _number(token.text)
    if token.is_word and token.key in _SPELLED and at + 1 < len(tokens):
        follows = tokens[at + 1].key
        unit = (
            follows.rstrip("s") in _MINUTES
            or (token.key == "half" and follows in ("an", "a"))
            or follows
            in (
                "%",
                "percent",
                "epochs",
                "epoch",
                "steps",
                "passes",
            )
        )
        return float(_SPELLED[token.key]) if unit else None
    return None


def _number(text: str) -> float | None:
    found = re.fullmatch(r"[$€]?([\d_,]*\.?\d+(?:e-?\d+)?)([km]?)", text.lower().replace("_", ""))
    if found is None:
        return None
    return float(found.group(1).replace(",", "")) * {"": 1, "k": 1e3, "m": 1e6}[found.group(2)]


def _with_unit(tokens: list[Token], at: int, value: float, before: tuple[str, ...]) -> Amount:
    follows = tuple(one.key for one in tokens[at + 1 : at + 5])
    if tokens[at].text[:1] in "$€" or (before and before[-1] in ("$", "€")):
        return Amount(at, at + 1, value, "usd", before, follows)
    first = follows[0] if follows else ""
    if first in ("an", "a") and follows[1:2] == ("hour",):
        return Amount(at, at + 3, value * 60, "minutes", before, follows[2:])
    if first in ("%", "percent", "pct", "per"):
        return Amount(at, at + 2, value, "percent", before, follows[1:])
    if first in _MONEY:
        return Amount(at, at + 2, value, "usd", before, follows[1:])
    if first == "gpu" and len(follows) > 1 and follows[1].startswith("hour"):
        return Amount(at, at + 3, value, "gpu_hours", before, follows[2:])
    minutes = _MINUTES.get(first) or _MINUTES.get(first.removesuffix("s")) or _MINUTES.get(first.rstrip("s"))
    if minutes is not None and first:
        return Amount(at, at + 2, value * minutes, "minutes", before, follows[1:])
    return Amount(at, at + 1, value, first, before, follows)


def field_of(
    amount: Amount, fields: list[FieldWords], filled: set[str]
) -> tuple[FieldWords, float, int] | None:
    """The field that a number is for, the value in its unit, and how many words behind the number name it."""
    numbers = [one for one in fields if one.takes_number and one.name not in filled]
    best: tuple[float, FieldWords, int] | None = None
    for place, one in enumerate(numbers):
        score, ahead = _nearness(amount, one)
        if score and (best is None or score - place * 1e-3 > best[0]):
            best = (score - place * 1e-3, one, ahead)
    if best is None:
        return None
    return best[1], _in_unit(amount, best[1]), best[2]


def _nearness(amount: Amount, one: FieldWords) -> tuple[float, int]:
    """How well a field's names stand beside a number (0: not at all); how many words behind it name it."""
    if not _fits_unit(amount, one):
        return 0, 0
    score, ahead = 0.0, 0
    words = [word for word in amount.before if word not in _BETWEEN]
    for name in one.names:
        size = len(name)
        if tuple(words[-size:]) == name:
            score = max(score, 2.0 + size)
        if size > 1 and amount.after[:1] == name[-1:] and tuple(words[1 - size :]) == name[:-1]:
            score, ahead = max(score, 3.0 + size), 1  # "a warmup of 20 steps"
        after = amount.after[:size]
        is_name = after and name in (after, (*after[:-1], after[-1] + "s"), _singular(after))
        if is_name and 1.5 + size > score:
            score, ahead = 1.5 + size, size
    if amount.unit == "percent" and one.unit == "percent":
        score = max(score, 1.0 + 0.5 * bool(set(one.name.split("_")) & set(amount.before)))
    if amount.unit == "minutes" and one.unit in ("minutes", "seconds", "hours") and score:
        score += 1
    if amount.unit == one.unit == "mb":
        score, ahead = max(score, 1.5), 1
    return score, ahead


def _singular(words: tuple[str, ...]) -> tuple[str, ...]:
    return (*words[:-1], words[-1].removesuffix("s"))


def _fits_unit(amount: Amount, one: FieldWords) -> bool:
    if amount.unit == "percent":
        return one.unit == "percent" or one.is_share
    if amount.unit == "minutes":
        return one.unit in ("minutes", "seconds", "hours", "milliseconds")
    return amount.unit not in ("usd", "gpu_hours")


def _in_unit(amount: Amount, one: FieldWords) -> float:
    value = amount.value
    if amount.unit == "percent" and one.unit != "percent":
        value /= 100
    if amount.unit == "minutes":
        value *= {"minutes": 1, "seconds": 60, "hours": 1 / 60, "milliseconds": 60_000}[one.unit]
    return int(value) if one.takes_whole and value == int(value) else value


def budget_of(amount: Amount) -> dict[str, float]:
    """The budget that a duration, a price or GPU hours set; empty for another number."""
    if amount.unit in ("minutes", "usd", "gpu_hours"):
        return {amount.unit: round(amount.value, 6)}
    return {}
