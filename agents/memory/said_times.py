"""The time that a question names in words: "yesterday", "last week", "in March", "since Monday"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_DAY = timedelta(days=1)
_MONTHS = [
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november", "december",
]  # fmt: skip
_WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": _DAY, "week": 7 * _DAY}
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
_AMOUNT = rf"(\d{{1,4}}|{'|'.join(_NUMBERS)})"
_PAST = re.compile(rf"\b(?:last|past|previous)\s+(?:{_AMOUNT}\s+)?(minute|hour|day|week)s\b")
_PAST_ONE = re.compile(r"\b(?:past|in the last)\s+(minute|hour|day|week)\b")
_AGO = re.compile(rf"\b{_AMOUNT}\s+(minute|hour|day|week)s?\s+ago\b")
_SPAN = re.compile(r"\b(this|last|previous)\s+(week|month|year)\b")
_DATE = re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b")
_MONTH = re.compile(rf"\b(?:in|since|during|of|last)\s+({'|'.join(_MONTHS)})(?:\s+(\d{{4}}))?\b")
_WEEKDAY = re.compile(rf"\b(?:on|since|last)\s+({'|'.join(_WEEKDAYS)})\b")
_SINCE = re.compile(r"\bsince\s+(?:the\s+)?$")


@dataclass(frozen=True)
class SaidTime:
    """A time from `since` on, before `until`, ISO 8601 in UTC; words: as the question says it."""

    since: str
    until: str | None
    words: str


def said_time(question: str, now: datetime | None = None) -> SaidTime | None:
    """The time that a question in English names, by the calendar of UTC; None where it names none."""
    asked = " ".join(question.casefold().split())
    found = _window(asked, now or datetime.now(UTC))
    if found is None:
        return None
    match, first, last = found
    begins = match.group().startswith("since ") or _SINCE.search(asked[: match.start()]) is not None
    until = None if begins or last is None else last.isoformat()
    return SaidTime(first.isoformat(), until, match.group())


def _window(asked: str, now: datetime) -> tuple[re.Match[str], datetime, datetime | None] | None:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if match := re.search(r"\b(today|this (?:morning|afternoon|evening)|tonight)\b", asked):
        return match, today, today + _DAY
    if match := re.search(r"\b(yesterday|last night)\b", asked):
        return match, today - _DAY, today
    if match := _AGO.search(asked):
        unit = _UNITS[match[2]]
        at = now - _number(match[1]) * unit
        if unit < _DAY:
            return match, at - unit, at + unit
        day = at.replace(hour=0, minute=0, second=0, microsecond=0)
        return match, day, day + unit
    if match := _PAST.search(asked):
        return match, now - _number(match[1] or "1") * _UNITS[match[2]], None
    if match := _PAST_ONE.search(asked):
        return match, now - _UNITS[match[1]], None
    if match := _SPAN.search(asked):
        this = _begin(today, match[2])
        return (match, this, None) if match[1] == "this" else (match, _begin(this - _DAY, match[2]), this)
    if match := _DATE.search(asked):
        try:
            day = datetime(int(match[1]), int(match[2]), int(match[3]), tzinfo=UTC)
            return match, day, day + _DAY
        except (ValueError, OverflowError):  # no day, or the last one there is
            return None
    if match := _WEEKDAY.search(asked):
        day = today - ((today.weekday() - _WEEKDAYS.index(match[1])) % 7 or 7) * _DAY
        return match, day, day + _DAY
    if match := _MONTH.search(asked):
        month = _MONTHS.index(match[1]) + 1
        year = int(match[2] or (now.year if month <= now.month else now.year - 1))
        if not 1970 <= year <= now.year:
            return None
        first = datetime(year, month, 1, tzinfo=UTC)
        return match, first, _begin(first + 31 * _DAY, "month")
    return None


def _number(word: str) -> int:
    return _NUMBERS.get(word) or int(word)


def _begin(day: datetime, unit: str) -> datetime:
    """The first day of the week, the month or the year that a day is in."""
    if unit == "week":
        return day - day.weekday() * _DAY
    return day.replace(day=1) if unit == "month" else day.replace(month=1, day=1)
