"""Filters: small functions that say why a sample should not be learned, or nothing. They alter no text.

Each is made by its name and limits, and they run in the order in which they are asked for. Sources: Rae et
al., "Scaling Language Models" (Gopher), 2021, appendix A1.1; Raffel et al., "Exploring the Limits of Transfer
Learning" (C4), JMLR 21 (2020), section 2.2; Penedo et al., "The FineWeb Datasets", 2024, section 3.6.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..core.errors import AskError, did_you_mean
from .personal import find_personal_data
from .sample import Sample, text_of

Filter = Callable[[Sample], str | None]
"""From a sample to why it is left out, in words; None where it stays."""

_BROKEN = re.compile(
    "\ufffd"  # what decoders put where bytes made no character
    "|[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u0080[\u0080-\u00bf]"  # UTF-8 read as Latin-1
    "|\u00e2\u20ac[\u2122\u0153\u009d\u201c\u201d\u02dc\u00a6]"  # UTF-8 read as Windows-1252
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
_REFUSED = frozenset(("", "no", "false", "0", "none", "denied", "withdrawn", "proprietary"))
_SENTENCE_ENDS = (".", "!", "?", '"', "\u201d", "\u3002", "\u0964")


@dataclass(frozen=True)
class FilterSpec:
    """A kind of filter: what it is for, and its limits with their usual values."""

    summary: str
    make: Callable[..., Filter]
    limits: Mapping[str, float]


def whole_text(sample: Sample) -> str:
    """All that is said in a sample, its answer too, a line for each message."""
    return "\n".join(filter(None, map(text_of, sample.conversation)))


def length(min_chars: float, max_chars: float) -> Filter:
    """Leaves out what is said in fewer or more characters."""

    def judge(sample: Sample) -> str | None:
        chars = len(whole_text(sample))
        if chars < min_chars:
            return f"{chars} characters, fewer than {min_chars:.0f}"
        return f"{chars} characters, more than {max_chars:.0f}" if chars > max_chars else None

    return judge


def encoding(max_damaged: float) -> Filter:
    """Leaves out texts with more than a share of characters that a wrong decoding left behind."""

    def judge(sample: Sample) -> str | None:
        text = whole_text(sample)
        damaged = len(_BROKEN.findall(text)) + len(_CONTROL.findall(text))
        if damaged <= max_damaged * len(text):
            return None
        return f"{damaged} damaged characters of {len(text)}"

    return judge


def repetition(
    max_line_share: float, max_top_share: float, max_repeated_share: float, min_words: float
) -> Filter:
    """Leaves out texts that repeat themselves (Gopher, table A1).

    Shares: of lines that occurred before; of the characters in the most frequent run of 3 words; of those in
    runs of 10 words that occurred before. Texts of fewer than `min_words` words are not judged.
    """

    def judge(sample: Sample) -> str | None:
        text = whole_text(sample)
        words = text.split()
        if len(words) < min_words:
            return None
        lines = [line for line in map(str.strip, text.splitlines()) if line]
        again = 1 - len(set(lines)) / max(1, len(lines))
        if again > max_line_share:
            return f"{again:.0%} of its lines are repeated"
        chars = sum(map(len, words))
        run, often = Counter(zip(words, words[1:], words[2:], strict=False)).most_common(1)[0]
        top = often * sum(map(len, run)) / chars
        if often > 2 and top > max_top_share:
            return f"'{' '.join(run)}' makes up {top:.0%} of it"
        repeated = _repeated(words, 10) / chars
        return (
            f"{repeated:.0%} of it is in repeated runs of 10 words" if repeated > max_repeated_share else None
        )

    return judge


def _repeated(words: Sequence[str], size: int) -> int:
    """Characters of words that stand in a run of `size` words which occurred before, each word once."""
    seen: set[tuple[str, ...]] = set()
    covered = 0
    until = 0
    for at in range(len(words) - size + 1):
        run = tuple(words[at : at + size])
        if run in seen:
            covered += sum(map(len, words[max(at, until) : at + size]))
            until = at + size
        seen.add(run)
    return covered


def prose(min_words: float, max_words: float, max_symbol_share: float, min_letter_share: float) -> Filter:
    """Leaves out what is no prose (Gopher): for documents in a language that parts words by spaces.

    Limits: words, words of 3 to 10 letters on average, `#` and `...` for each word, the share of words with a
    letter, at least 2 of 8 English stop words.
    """

    def judge(sample: Sample) -> str | None:
        text = whole_text(sample)
        words = text.split()
        if not min_words <= len(words) <= max_words:
            return f"{len(words)} words, not {min_words:.0f} to {max_words:.0f}"
        mean = sum(map(len, words)) / len(words)
        if not 3 <= mean <= 10:
            return f"{mean:.1f} characters to a word, not 3 to 10"
        symbols = text.count("#") + text.count("...") + text.count("\u2026")
        if symbols > max_symbol_share * len(words):
            return f"{symbols} '#' and '...' in {len(words)} words"
        lettered = sum(any(char.isalpha() for char in word) for word in words) / len(words)
        if lettered < min_letter_share:
            return f"{lettered:.0%} of its words have a letter"
        found = len(_STOP_WORDS & {word.lower() for word in words})
        return f"{found} of 8 English stop words" if found < 2 else None

    return judge


def web_page(max_short_lines: float, min_ended_lines: float) -> Filter:
    """Leaves out pages that are no text (C4, FineWeb): menus, placeholders, code of a page.

    Limits: the share of lines of fewer than 30 characters, and the least share that ends as a sentence does.
    """

    def judge(sample: Sample) -> str | None:
        text = whole_text(sample)
        low = text.lower()
        for sign in ("lorem ipsum", "javascript is disabled", "enable javascript"):
            if sign in low:
                return f"it says '{sign}'"
        lines = [line for line in map(str.strip, text.splitlines()) if line]
        if not lines:
            return "no line"
        short = sum(len(line) < 30 for line in lines) / len(lines)
        if short > max_short_lines:
            return f"{short:.0%} of its lines are shorter than 30 characters"
        ended = sum(line.endswith(_SENTENCE_ENDS) for line in lines) / len(lines)
        return f"{ended:.0%} of its lines end as sentences do" if ended < min_ended_lines else None

    return judge


def personal_data(max_found: float) -> Filter:
    """Leaves out texts with more than so many e-mail addresses, phone, card, account and other numbers."""

    def judge(sample: Sample) -> str | None:
        found = [one for text in _texts(sample) for one in find_personal_data(text)]
        if len(found) <= max_found:
            return None
        kinds = Counter(one.kind for one in found)
        return ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))

    return judge


def _texts(sample: Sample) -> list[str]:
    return [*map(text_of, sample.conversation), *sample.contexts]


def consent(
    refused: tuple[str, ...] = ("no", "false", "0", "none", "denied", "withdrawn", "proprietary"),
) -> Filter:
    """Leaves out rows whose tag `consent` or `licence` (or `license`) says no, or that have the tag empty."""

    def judge(sample: Sample) -> str | None:
        for name in ("consent", "licence", "license"):
            value = sample.tags.get(name)
            if value is not None and value.strip().lower() in _REFUSED:
                return f"{name} is '{value}'"
        return None

    return judge


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
}


def make_filter(asked: str) -> tuple[str, Filter]:
    """The name and the filter of `name` or `name:limit=value:limit=value`; AskError for an unknown one."""
    name, _, given = asked.partition(":")
    name = name.strip()
    if name not in FILTERS:
        raise AskError(
            f"unknown filter '{name}' (there are: {', '.join(FILTERS)}).{did_you_mean(name, FILTERS)}"
        )
    spec = FILTERS[name]
    limits = dict(spec.limits)
    for part in filter(None, (one.strip() for one in given.split(":"))):
        limit, _, value = (one.strip() for one in part.partition("="))
        if limit not in limits:
            known = ", ".join(limits) or "none"
            raise AskError(
                f"filter {name} has no limit '{limit}' (it has: {known}).{did_you_mean(limit, limits)}"
            )
        try:
            limits[limit] = float(value)
        except ValueError:
            raise AskError(f"filter {name}: {limit} is '{value}', not a number.") from None
        if not limits[limit] >= 0:
            raise AskError(f"filter {name}: {limit} is {value}; it must be 0 or more.")
    return name, spec.make(**limits)
