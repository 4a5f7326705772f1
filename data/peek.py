"""The columns of a source before anything is known of their meaning, for whoever maps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice

from .read import Source, check_source, raw_rows

_ROWS = 100
_SHOWN_CHARS = 120


def first_values(source: Source) -> Mapping[str, str]:
    """The columns of the first rows, each with the first value it holds there, cut; AskError as of reading.

    Nothing for a published layout, whose columns are known.
    """
    found: dict[str, str] = {}
    for _, raw in islice(raw_rows(source, check_source(source)), _ROWS):
        for name, value in (raw.fields or {}).items():
            found[name] = found.get(name) or _shown(value)
    return found


def _shown(value: object) -> str:
    """The start of a value as text; nothing for one that holds nothing."""
    if value in (None, "", [], {}):
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}\u2026"
