"""Numbers with their units: "5k steps", "10 %", "2 hours", "rank 8", "a batch size of 32", "1e-4"."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace

from .fields import FieldWords
from .text import Token, key_of_word, stem_of, words

_BETWEEN = words(
    "of to at is be = : the a an with about around roughly exactly only no more than most least up max"
    " shall should must will can"
)
_MINUTES = {
    "second": 1 / 60, "sec": 1 / 60, "s": 1 / 60, "minute": 1.0, "min": 1.0,
    "hour": 60.0, "hr": 60.0, "h": 60.0, "day": 1440.0,
}  # fmt: skip
_MONEY = words("$ € dollar dollars usd bucks")
_SPELLED = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10,
    "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60,
    "half": 0.5, "quarter": 0.25, "third": 1 / 3, "fifth": 0.2, "tenth": 0.1,
}  # fmt: skip
_PARTS = words("half quarter third fifth tenth")
_ORDER = words("the last first previous this that other which")
_NOT_COUNTED = words("of on in to for with at by from as and or more is was please that which")


@dataclass(frozen=True)
class Amount:
    """A number in a sentence; its unit is percent, minutes, usd, gpu_hours, or else the word behind it."""

    start: int
    end: int
    value: float
    unit: str
    before: tuple[str, ...]  # words before it, nearest last
    after: tuple[str, ...] = ()
    count: float = 0.0  # as it is said, without its unit
    behind: int = 0  # where `after` begins; 0: at `end`

    @property
    def follows(self) -> int:
        """Where the words behind it begin."""
        return self.behind or self.end

    @property
    def before_at(self) -> range:
        """The places of the words before it."""
        return range(self.start - len(self.before), self.start)

    def key(self, at: int) -> str:
        """The word at one of these places."""
        return self.before[at - self.start]


def amounts_in(tokens: list[Token], taken: set[int]) -> list[Amount]:
    """Every number that is not part of something else."""
    found = []
    for at in range(len(tokens)):
        value = _value(tokens, at)
        if at in taken or value is None:
            continue
        before = tuple(one.key for one in tokens[max(0, at - 8) : at])
        found.append(replace(_with_unit(tokens, at, value, before), count=value))
    return _percent_each(found, tokens)


_BEFORE_ROW = words(
    "step steps stage stages share shares at to with of in over canary first from by and then percent is are"
)


def _percent_each(found: list[Amount], tokens: list[Token]) -> list[Amount]:
    """The numbers, each of a row in percent where the last one is: "1, then 10 and 50 percent"."""
    for at in range(len(found) - 2, -1, -1):
        one, after = found[at], found[at + 1]
        between = {token.key for token in tokens[one.end : after.start]}
        named = one.before[-1:] and one.before[-1] not in _BEFORE_ROW and one.before[-1].isalpha()
        is_row = not named and one.end < after.start and between <= {",", "and", "then", "&"}
        if is_row and not 0 < one.value < 1 and after.unit == "percent" and one.unit in between:
            found[at] = replace(one, unit="percent")
        elif (
            between in ({"and"}, {"and", "then"})
            and one.unit == "and"
            and after.unit.isalpha()
            and after.unit != "usd"
        ):
            found[at] = replace(one, unit=after.unit, after=after.after, behind=after.follows)
    return found


def _value(tokens: list[Token], at: int) -> float | None:
    token = tokens[at]
    if token.kind == "number":
        return _number(token.text)
    if token.key in ("a", "an") and _is_one(tokens, at):
        return 1.0
    if token.is_word and token.key in _SPELLED and at + 1 < len(tokens):
        if token.key in _PARTS:
            counts = tokens[at + 1].key in ("of", "an", "a", "the", "for", "as")
        else:
            counts = at == 0 or tokens[at - 1].key not in _ORDER  # "the last two"
            counts = counts and tokens[at + 1].is_word and tokens[at + 1].key not in _NOT_COUNTED
        return float(_SPELLED[token.key]) if counts else None
    return None


def _is_one(tokens: list[Token], at: int) -> bool:
    """Whether an article counts: "an hour per stage", "a day at most"; not "half an hour", "an hour ago"."""
    keys = [token.key for token in tokens[max(0, at - 2) : at + 4]]
    here = min(at, 2)
    before, unit, after = keys[:here], keys[here + 1 : here + 2], keys[here + 2 :]
    counts = after[:1] in (["per"], ["each"]) or after in (["at", "most"], ["for", "each"])
    bound = bool(before) and before[-1] in ("within", "under", "most")
    return bool(unit) and unit[0] in _COUNTED and (counts or bound) and before[-1:] != ["half"]


_COUNTED = words("minute hour day")


def number_of(key: str) -> float | None:
    """The number that a word is, in digits or in letters."""
    return float(_SPELLED[key]) if key in _SPELLED else _number(key)


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
    if tokens[at].key in _PARTS:
        return Amount(at, at + 1, 100 * value, "percent", before, follows)
    if first in ("%", "percent", "percents", "pct", "per"):
        return Amount(at, at + 2, value, "percent", before, follows[1:])
    if first in _MONEY:
        return Amount(at, at + 2, value, "usd", before, follows[1:])
    if first == "gpu" and len(follows) > 1 and follows[1].startswith("hour"):
        return Amount(at, at + 3, value, "gpu_hours", before, follows[2:])
    minutes = _MINUTES.get(first) or _MINUTES.get(first.removesuffix("s")) or _MINUTES.get(first.rstrip("s"))
    if minutes is not None and first:
        return Amount(at, at + 2, value * minutes, "minutes", before, follows[1:])
    return Amount(at, at + 1, value, first, before, follows)


@dataclass(frozen=True)
class Placed:
    """The field that a number is for, the value in its unit, and where the words stand that name it."""

    field: FieldWords
    value: float
    named_at: frozenset[int]


def field_of(
    amount: Amount, tokens: list[Token], fields: list[FieldWords], filled: set[str]
) -> Placed | None:
    """The field that a number is for: by names beside it, by its unit, else by what its sentence says."""
    free = [one for one in fields if one.takes_number and one.name not in filled]
    if amount.unit not in ("percent", "usd") and (exact := _exact(amount, tokens, free)) is not None:
        return exact
    numbers = [one for one in free if fits_unit(amount, one)]
    best: tuple[float, FieldWords, frozenset[int]] | None = None
    for place, one in enumerate(numbers):
        score, named_at = _nearness(amount, one)
        if score and (best is None or score - place * 1e-3 > best[0]):
            best = (score - place * 1e-3, one, named_at)
    if best is None:
        best = _for_each(amount, numbers) or _spoken_of(amount, tokens, numbers)
    return Placed(best[1], in_unit(amount, best[1]), best[2]) if best is not None else None


def named_beside(amount: Amount, fields: list[FieldWords]) -> Placed | None:
    """The field whose own name stands right beside a number; None where none does."""
    found = [
        (score, one, at) for one in fields for score, at in [_nearness(amount, one)] if score >= _NAMED and at
    ]
    if not found:
        return None
    _, one, named_at = max(found, key=lambda one: one[0])
    return Placed(one, in_unit(amount, one), named_at)


_NAMED = 2.5


def _for_each(amount: Amount, numbers: list[FieldWords]) -> tuple[float, FieldWords, frozenset[int]] | None:
    """The one field of a time that is no bound of the whole: "in stages of 5 and 50, 15 minutes each"."""
    if amount.unit != "minutes" or amount.after[:1] not in (("each",), ("apiece",), ("per",), ("every",)):
        return None
    free = [one for one in numbers if one.name.partition("_")[0] not in ("max", "budget", "timeout")]
    return (1.0, free[0], frozenset({amount.end})) if len(free) == 1 else None


def _exact(amount: Amount, tokens: list[Token], fields: list[FieldWords]) -> Placed | None:
    """The field whose own name stands right beside a number, also where it would pass for a unit."""
    keys = [token.key for token in tokens]
    lead = amount.start
    while lead and keys[lead - 1] in ("=", ":", "of", "to", "is"):
        lead -= 1
    for one in sorted(fields, key=lambda one: -len(one.name)):
        name, whole = tuple(one.name.split("_")), key_of_word(one.name)
        behind = range(amount.start + 1, amount.start + 1 + len(name))
        before = range(lead - len(name), lead)
        spans = [] if len(name) == 1 and whole not in _UNIT_NAMES | {"most"} else [behind, before]
        for span in (range(lead - 1, lead), *spans):  # "max_steps=200", "200 max steps", "max steps of 200"
            found = tuple(keys[span.start : span.stop])
            if span.start < 0 or found != (name if span in spans else (whole,)):
                continue
            return Placed(
                one,
                int(amount.count) if amount.count == int(amount.count) and one.takes_whole else amount.count,
                frozenset(span),
            )
    return None


_UNIT_NAMES = words("seconds minutes hours milliseconds")


def _nearness(amount: Amount, one: FieldWords) -> tuple[float, frozenset[int]]:
    """How well a field's names stand beside a number (0: not at all), and where they stand."""
    score, named_at = 0.0, frozenset[int]()
    places = [at for at in amount.before_at if amount.key(at) not in _BETWEEN | {"<path>", "<ref>"}]
    words = tuple(amount.key(at) for at in places)
    for name in one.names:
        size = len(name)
        if _alike(words[-size:], name) and (near := 2.0 + size + _exactly(words[-size:], name)) > score:
            score, named_at = near, frozenset(places[-size:])
        if (
            size > 1
            and amount.after[:1] == name[-1:]
            and words[1 - size :] == name[:-1]
            and 3.0 + size > score
        ):
            score, named_at = (
                3.0 + size,
                frozenset({*places[1 - size :], amount.follows}),
            )  # "a warmup of 20 steps"
        links = next((n for n, key in enumerate(amount.after) if key not in _LINKS), 0)
        for skip in (0, links):
            after = amount.after[skip : skip + size]
            if after and _alike(after, name) and (near := 1.5 + size + _exactly(after, name)) > score:
                score, named_at = near, frozenset(range(amount.follows + skip, amount.follows + skip + size))
    if amount.unit == "percent" and one.unit == "percent" and score < 1.5:
        score = 1.0 + 0.5 * bool(set(one.name.split("_")) & set(amount.before))
    if amount.unit == "minutes" and one.unit in ("minutes", "seconds", "hours"):
        score += bool(score)
        if not score and one.name.startswith("max") and _LIMITS & {*amount.before[-4:], *amount.after[:3]}:
            score = 1.0  # "within three hours" of what has a longest time of its own
    if amount.unit == one.unit == "mb" and score < 1.5:
        score, named_at = 1.5, frozenset({amount.end})
    return score, named_at


_LIMITS = words("within most max maximum maximally limit longer under below atmost over cap tops")
_LINKS = words("for as of the a an to in more")
_WINDOW = 6


def _spoken_of(
    amount: Amount, tokens: list[Token], numbers: list[FieldWords]
) -> tuple[float, FieldWords, frozenset[int]] | None:
    """The one field whose sentence speaks of what stands around a number: "16 requests at a time"."""
    first, last = _between_commas(amount, tokens)
    near = [at for at in range(max(first, amount.start - _WINDOW), min(last, amount.end + _WINDOW))]
    near = [at for at in near if not amount.start <= at < amount.end and tokens[at].is_word]
    shares = Counter(stem for one in numbers for stem in one.about)
    scored: list[tuple[float, FieldWords, frozenset[int]]] = []
    for one in numbers:
        hits = {at for at in near if stem_of(tokens[at].key) in one.about}
        own = {stem_of(word) for word in one.name.split("_")}
        stems = {stem_of(tokens[at].key) for at in hits}
        beside = {stem_of(key) for key in (*amount.after[:2], *amount.before[-2:])}
        if not stems & beside and amount.unit not in ("percent", "minutes"):
            continue  # what is counted, or what is set, stands beside its number
        score = sum((1.5 if stem in own else 1.0) / shares[stem] ** 0.5 for stem in stems)
        scored.append((score, one, frozenset(hits)))
    scored.sort(key=lambda one: -one[0])
    if not scored or scored[0][0] < _ENOUGH or (len(scored) > 1 and scored[0][0] - scored[1][0] < _CLEAR):
        return None
    return scored[0]


def _between_commas(amount: Amount, tokens: list[Token]) -> tuple[int, int]:
    """Where the part of a clause that a number stands in begins and ends; all of it where it stands alone."""
    commas = [at for at, token in enumerate(tokens) if token.key == ","]
    first = max((at for at in commas if at < amount.start), default=-1) + 1
    last = min((at for at in commas if at >= amount.end), default=len(tokens))
    said = sum(token.is_word for token in tokens[first:last])
    return (first, last) if said else (0, len(tokens))


_ENOUGH, _CLEAR = 1.0, 0.2


def _exactly(said: tuple[str, ...], name: tuple[str, ...]) -> float:
    """More for a name said as it is: "row 5" is one row, "5 rows" are several."""
    return 0.1 * (said == name)


def _alike(said: tuple[str, ...], name: tuple[str, ...]) -> bool:
    """Whether words are a name, in one or in several."""
    return len(said) == len(name) and all(stem_of(a) == stem_of(b) for a, b in zip(said, name, strict=True))


def fits_unit(amount: Amount, one: FieldWords) -> bool:
    """Whether a field can take a number of this unit."""
    if amount.unit == "percent":
        return one.unit == "percent" or one.is_share
    if amount.unit == "minutes":
        return one.unit in ("minutes", "seconds", "hours", "milliseconds")
    return amount.unit not in ("usd", "gpu_hours")


def in_unit(amount: Amount, one: FieldWords) -> float:
    """A number in the unit of a field."""
    value = amount.value
    if amount.unit == "percent" and one.unit != "percent" and one.is_share:
        value /= 100
    if amount.unit == "minutes":
        value *= {"minutes": 1, "seconds": 60, "hours": 1 / 60, "milliseconds": 60_000}[one.unit]
    return int(value) if one.takes_whole and value == int(value) else value


def budget_of(amount: Amount) -> dict[str, float]:
    """The budget that a duration, a price or GPU hours set; empty for another number."""
    if amount.unit in ("minutes", "usd", "gpu_hours"):
        return {amount.unit: round(amount.value, 6)}
    return {}
