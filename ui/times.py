"""Times as a colleague would say them, in place of the ISO 8601 ones that a text holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_ISO = re.compile(
    r"(?<![\w:.+-])(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?"
    r"(?P<zone>Z|[+-]\d\d:\d\d| UTC\b)?(?![\w:+])"
)
_QUOTED = re.compile(r"(`[^`]*`)")  # what is to be typed stays as it is typed


def replace_times(text: str, say: Callable[[datetime], str]) -> str:
    """The text with each ISO 8601 time as `say` says it; one without a zone is UTC, as records have it."""

    def said(found: re.Match[str]) -> str:
        zone = (found["zone"] or "").strip()
        try:
            time = datetime.fromisoformat(found["time"] + ("+00:00" if zone in ("", "Z", "UTC") else zone))
            return say(time.astimezone(UTC))
        except (ValueError, OverflowError):  # no such day, or a year that no calendar has in UTC
            return found[0]

    parts = _QUOTED.split(text)
    return "".join(part if place % 2 else _ISO.sub(said, part) for place, part in enumerate(parts))


def with_ago(text: str, now: datetime | None = None) -> str:
    """The text with each time as how long ago it is, and the whole of it in brackets, for a terminal."""
    at = now or datetime.now(UTC)

    def say(time: datetime) -> str:
        told, whole = ago(at - time), f"{time:%Y-%m-%d %H:%M:%S} UTC"
        return f"{told} ({whole})" if told else whole

    return replace_times(text, say)


def ago(past: timedelta) -> str:
    """A span back from now as the console's pages say it; nothing for two weeks and more, or for later."""
    minutes = past.total_seconds() / 60
    if minutes <= -2 or minutes >= 20_160:
        return ""
    if minutes < 1:
        return "just now"
    if minutes < 90:
        return f"{int(minutes)} min ago"
    return f"{round(minutes / 60)} h ago" if minutes < 2160 else f"{round(minutes / 1440)} days ago"
