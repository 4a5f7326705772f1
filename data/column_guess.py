"""A guess which columns hold question and answer, to be shown to whoever maps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def likely_question_and_answer(rows: Iterable[Mapping[str, Any]]) -> tuple[str, str] | None:
    """The two columns that look most like text and label, None for less than two that hold anything.

    The longest on average, and of the others the one with the fewest values, one value last: rows may be
    sorted by label. A guess to be shown, never to be taken.
    """
    seen: dict[str, list[str]] = {}
    for fields in rows:
        for name, value in fields.items():
            if value not in (None, "", [], {}):
                seen.setdefault(name, []).append(str(value))
    if not seen:
        return None
    asked = max(seen, key=lambda name: sum(map(len, seen[name])) / len(seen[name]))
    values = {name: len(set(held)) for name, held in seen.items() if name != asked}
    return (asked, min(values, key=lambda name: (values[name] == 1, values[name]))) if values else None
