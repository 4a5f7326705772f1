"""Filters by the form of a text: its length, damage, repetition, whether it is prose.

Sources: Rae et al., "Scaling Language Models" (Gopher), 2021, appendix A1.1; Raffel et al., "Exploring the
Limits of Transfer Learning" (C4), JMLR 21 (2020), section 2.2; Penedo et al., "The FineWeb Datasets", 2024,
section 3.6.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ..sample import Sample
from .base import Filter, whole_text

_BROKEN = re.compile(
    "\ufffd"  # what decoders put where bytes made no character
    "|[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u0080[\u0080-\u00bf]"  # UTF-8 read as Latin-1
    "|\u00e2\u20ac[\u2122\u0153\u009d\u201c\u201d\u02dc\u00a6]"  # UTF-8 read as Windows-1252
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
_SENTENCE_ENDS = (".", "!", "?", '"', "\u201d", "\u3002", "\u0964")


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
