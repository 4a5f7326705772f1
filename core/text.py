"""Text from outside, as a person may safely be shown it: nothing in it moves a cursor or hides."""

from __future__ import annotations

import re
import unicodedata

_JOINERS = "\u200c\u200d"  # Persian words and family emoji need them
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters by their category, nothing to the eye
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


def is_unseen(character: str) -> bool:
    """Whether a character shows nothing of its own: control, direction, zero width, blank filler."""
    if character in _JOINERS:
        return False
    return character in _BLANK or unicodedata.category(character) in _UNSEEN


def unseen_in(text: str) -> str:
    """The first character that shows nothing, as its escape; empty when there is none."""
    return next((_escape(character) for character in text if is_unseen(character)), "")


def says_something(text: str) -> bool:
    """Whether a text holds a letter or a digit that can be seen."""
    return any(character.isalnum() and not is_unseen(character) for character in text)


def escaped(text: str, keep: str = "") -> str:
    """The text with what shows nothing written as its escape; characters of `keep` stay as they are."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or not is_unseen(c) else _escape(c) for c in text)


def escaped_json(text: str) -> str:
    """JSON with what shows nothing escaped: the same document, safe for a terminal."""
    return "".join(c if c == "\n" or not is_unseen(c) else _utf16_escape(c) for c in text)


def one_line(text: str) -> str:
    """The text with its line breaks and tabs folded into single spaces."""
    return re.sub(r" *[\t\r\n][ \t\r\n]*", " ", text).strip(" \t\r\n")


def no_formula(text: str) -> str:
    """The text as a cell of a CSV file: with a ' before what a spreadsheet would run."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _utf16_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
