"""The filters by name, and how one is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...core.errors import AskError, did_you_mean
from .base import Filter, FilterSpec
from .language import language, script
from .people import consent, personal_data, toxicity
from .quality import encoding, length, prose, repetition, web_page

FILTERS: dict[str, FilterSpec] = {
    "length": FilterSpec("too short or too long", length, {"min_chars": 1, "max_chars": 100_000}),
    "encoding": FilterSpec("damaged by a wrong decoding", encoding, {"max_damaged": 0.0}),
    "repetition": FilterSpec(
        "repeats itself (Gopher)",
        repetition,
        {"max_line_share": 0.3, "max_top_share": 0.18, "max_repeated_share": 0.10, "min_words": 20},
    ),
    "prose": FilterSpec(
        "no English prose (Gopher)",
        prose,
        {"min_words": 50, "max_words": 100_000, "max_symbol_share": 0.1, "min_letter_share": 0.8},
    ),
    "web_page": FilterSpec(
        "no text of a web page (C4, FineWeb)", web_page, {"max_short_lines": 0.67, "min_ended_lines": 0.12}
    ),
    "personal_data": FilterSpec("holds personal data", personal_data, {"max_found": 0}),
    "consent": FilterSpec("its consent or licence tag says no", consent, {}),
    "toxicity": FilterSpec("holds words of a list", toxicity, {"max_found": 0}, takes_words=True),
    "script": FilterSpec("in another script", script, {"only": ()}),
    "language": FilterSpec(
        "in another language",
        language,
        {"only": (), "max_probability": 0.01, "min_letters": 12},
        modules=("py3langid",),
    ),
}


def make_filter(asked: str, words: Path | None = None) -> tuple[str, Filter]:
    """The name and the filter of `name` or `name:limit=value:limit=value`; AskError for an unknown one.

    Several names are one value, as in `language:only=en+de`. words: the list of a filter that takes one.
    """
    name, spec, given = _named(asked)
    limits = dict(spec.limits)
    for part in filter(None, (one.strip() for one in given.split(":"))):
        limit, _, value = (one.strip() for one in part.partition("="))
        if limit not in limits:
            known = ", ".join(limits) or "none"
            raise AskError(
                f"filter {name} has no limit '{limit}' (it has: {known}).{did_you_mean(limit, limits)}"
            )
        limits[limit] = _names(value) if isinstance(limits[limit], tuple) else _number(name, limit, value)
    return name, spec.make(**limits, **({"words": words} if spec.takes_words else {}))


def filters_needing_words(asked: Iterable[str]) -> list[str]:
    """Those of the asked filters that look for the words of a list."""
    return [one for one in asked if _named(one)[1].takes_words]


def modules_of(asked: Iterable[str]) -> list[str]:
    """The modules that the asked filters cannot do without."""
    return sorted({module for one in asked for module in _named(one)[1].modules})


def _named(asked: str) -> tuple[str, FilterSpec, str]:
    name, _, given = asked.partition(":")
    name = name.strip()
    if name not in FILTERS:
        raise AskError(
            f"unknown filter '{name}' (there are: {', '.join(FILTERS)}).{did_you_mean(name, FILTERS)}"
        )
    return name, FILTERS[name], given


def _names(value: str) -> tuple[str, ...]:
    return tuple(filter(None, (one.strip() for one in value.split("+"))))


def _number(name: str, limit: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise AskError(f"filter {name}: {limit} is '{value}', not a number.") from None
    if not number >= 0:
        raise AskError(f"filter {name}: {limit} is {value}; it must be 0 or more.")
    return number
