"""The words of a text, in any script."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

_ALONE = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL SYLLABLE", "THAI", "LAO", "KHMER", "MYANMAR")
_KEPT = frozenset("#%&@-")  # punctuation that tells C from C#, 5 from 5 % and 3 from -3


def words(text: str) -> list[str]:
    """The words of a text: NFKC, case-folded runs of letters, marks and digits.

    A script written without spaces gives one word a character. Symbols and the few punctuation marks that
    change a meaning are words of their own; all other punctuation is left out.
    """
    found: list[str] = []
    run: list[str] = []
    for character in unicodedata.normalize("NFKC", text).casefold():
        kind = unicodedata.category(character)[0]
        if kind in "LN" and not _stands_alone(character):
            run.append(character)
            continue
        if kind == "M" and (run or found):
            if run:
                run.append(character)
            else:
                found[-1] += character
            continue
        if run:
            found.append("".join(run))
            run = []
        if kind in "LNS" or character in _KEPT:
            found.append(character)
    if run:
        found.append("".join(run))
    return found


def _stands_alone(character: str) -> bool:
    return ord(character) > 0xE00 and unicodedata.name(character, "").startswith(_ALONE)


def overlap_f1(wanted: Sequence[object], got: Sequence[object]) -> float:
    """Harmonic mean of precision and recall of two bags of things, 0 to 1; two empty ones are alike."""
    if not wanted and not got:
        return 1.0
    shared = sum((Counter(wanted) & Counter(got)).values())
    return 2 * shared / (len(wanted) + len(got))
