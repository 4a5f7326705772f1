"""What can be told of an answer without knowing the right one: whether it is text, and like another."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_ALIKE = 0.66  # of the words of both
_MOST_OF_ONE_WORD = 0.5
_LEAST_WORDS = 12  # a shorter answer may well repeat itself
_UNPRINTABLE = {"Cc", "Cn", "Co", "Cs"}  # control, unassigned, private use, half a character
_LAYOUT = frozenset("\n\r\t")


def is_invalid(text: str) -> bool:
    """Whether an answer is none: empty, with characters that nobody writes, or one word again and again."""
    if not text.strip() or "\ufffd" in text:
        return True
    if any(unicodedata.category(c) in _UNPRINTABLE for c in text if c not in _LAYOUT):
        return True
    words = _words(text)
    if len(words) < _LEAST_WORDS:
        return False
    return Counter(words).most_common(1)[0][1] > _MOST_OF_ONE_WORD * len(words)


def agree(one: str, other: str) -> bool:
    """Whether two answers say the same as far as words tell: equal but for case, or two thirds alike."""
    if " ".join(one.split()).casefold() == " ".join(other.split()).casefold():
        return True
    mine, theirs = Counter(_words(one)), Counter(_words(other))
    common = (mine & theirs).total()
    return common > 0 and 2 * common >= _ALIKE * (mine.total() + theirs.total())


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
