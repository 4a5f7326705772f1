"""What can be told of an answer without knowing the right one: whether it is text, and like another."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from ...data.personal import PLACEHOLDER
from ...data.scripts import UNSPACED

_ALIKE = 0.66  # of the words of both
_MOST_OF_ONE_WORD = 0.5
_LEAST_WORDS = 12  # a shorter answer may well repeat itself
_WORD = re.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])\w)+")
_UNPRINTABLE = {"Cc", "Cn", "Co", "Cs"}  # control, unassigned, private use, half a character
_LAYOUT = frozenset("\n\r\t")
_STILL_GROWING = (range(0x1F000, 0x1FBFF), range(0x20000, 0x3FFFE))  # pictographs, ideographs


def is_invalid(text: str) -> bool:
    """Whether an answer is none: empty, with characters that nobody writes, or one word again and again."""
    if not text.strip() or "\ufffd" in text:
        return True
    if any(_is_unprintable(c) for c in text if c not in _LAYOUT):
        return True
    words = _words(PLACEHOLDER.sub(" ", text))  # what the log masked was said in words of its own
    if len(words) < _LEAST_WORDS:
        return False
    return Counter(words).most_common(1)[0][1] > _MOST_OF_ONE_WORD * len(words)


def _is_unprintable(character: str) -> bool:
    """Whether nobody writes it; what a newer Unicode may have assigned is left alone."""
    if unicodedata.category(character) not in _UNPRINTABLE:
        return False
    return not any(ord(character) in block for block in _STILL_GROWING)


def agree(one: str, other: str) -> bool:
    """Whether two answers say the same as far as words tell: equal but for case, or two thirds alike."""
    if " ".join(one.split()).casefold() == " ".join(other.split()).casefold():
        return True
    mine, theirs = Counter(_words(one)), Counter(_words(other))
    common = (mine & theirs).total()
    return common > 0 and 2 * common >= _ALIKE * (mine.total() + theirs.total())


def _words(text: str) -> list[str]:
    """The words; single characters in scripts that put no space between them."""
    return _WORD.findall(text.casefold())
