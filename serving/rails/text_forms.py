"""The forms in which rails read a text: disguises taken off, letter by letter, and what is encoded in it.

Nothing here alters what a model or a user gets.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_LOOKALIKES = Path(__file__).with_name("confusables.tsv")
_NAMED = re.compile(
    r"(?:(?:NEGATIVE (?:SQUARED|CIRCLED) )?LATIN(?: SMALL| CAPITAL)?|REGIONAL INDICATOR SYMBOL)"
    r" LETTER(?: SMALL CAPITAL)? ([A-Z])(?: WITH .*)?"
)
_TAGS = {0xE0000 + code: chr(code) for code in range(0x20, 0x7F)}  # ASCII that is not shown at all
_INVISIBLE = re.compile(  # Unicode's Default_Ignorable_Code_Point, and the empty Braille pattern
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_LOOSER = dict(zip("тмкнвьяητκχ", "tmkhbbrntkx", strict=True))  # alike enough for a reader, not for Unicode
_SPACED_OUT = re.compile(r"(?<!\w)(?:[^\W_][ .*_/|,~-]){3,}[^\W_](?!\w)")
_MANY_SPACED = re.compile(r"(?<!\w)(?:[^\W_][ .*_/|,~-]+){7,}[^\W_](?!\w)")
_RUN_TOGETHER = re.compile(r"[a-z]{25,}")
_JOINTS = re.compile(r"[ .*_/|,~-]")
_LEET = str.maketrans("013457@$!", "oieastasi")
_WORD = re.compile(r"[a-z0-9@$!]+")
_MIXED = re.compile(r"[a-z][013457@$!]|[013457@$][a-z]")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_LINE_OF_BASE64 = re.compile(r"(?<=[A-Za-z0-9+/_-]{16})\s+(?=[A-Za-z0-9+/_-]{2})")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}(?:,? ?(?:0x|\\x)|, |[ :,])?){12,}")
_NOT_HEX = re.compile(r"0x|[^0-9a-fA-F]")


def plain_form(text: str) -> str:
    """A text as patterns see it: NFKC, lower case, invisible characters dropped, one space between words."""
    folded = unicodedata.normalize("NFKC", text if text.isascii() else text.translate(_TAGS)).casefold()
    if not folded.isascii():
        folded = _INVISIBLE.sub("", folded)
    return " ".join(folded.split())


def latin_form(plain: str) -> str:
    """A plain text without accents, look-alikes and digits made Latin, spaced-out letters joined.

    An underscore is a space: patterns take it for a letter, readers do not.
    """
    text = plain.replace("_", " ")
    if not plain.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", plain) if unicodedata.category(c) != "Mn")
        text = "".join(c if c.isascii() else _latin(c) for c in text)
    return _SPACED_OUT.sub(lambda match: _JOINTS.sub("", match.group()), text)


def loose_form(plain: str, latin: str) -> str | None:
    """A text of which much is spelt letter by letter, or run together, without any space; None for any other.

    Where words end in it is lost: only patterns that are loosened too can be sought in it.
    """
    is_spelt = _MANY_SPACED.search(plain) or _RUN_TOGETHER.search(latin)
    return re.sub(r"[\W_]", "", latin) if is_spelt else None


def leet_form(latin: str) -> str | None:
    """A Latin text with words of letters and digits ('1gn0r3') as letters; None when it has none."""
    if not _MIXED.search(latin):
        return None

    def read(match: re.Match[str]) -> str:
        word = match.group()
        return word.translate(_LEET) if _MIXED.search(word) else word

    return _WORD.sub(read, latin)


def encoded_texts(text: str) -> Iterator[str]:
    """The texts that are encoded within a text, in lines too: base64, hexadecimal, ROT13."""
    runs = dict.fromkeys(
        match.group() for one in (text, _LINE_OF_BASE64.sub("", text)) for match in _BASE64.finditer(one)
    )
    for run in runs:
        word = run.replace("-", "+").replace("_", "/").rstrip("=")
        if (found := _decoded(word)) is not None:
            yield found
    for match in _HEX.finditer(text):
        digits = _NOT_HEX.sub("", match.group())
        if (found := _readable(bytes.fromhex(digits[: len(digits) // 2 * 2]))) is not None:
            yield found
    if text.isascii() and "rot" in text.casefold():
        yield codecs.encode(text, "rot13")


def _decoded(word: str) -> str | None:
    try:
        return _readable(base64.b64decode(word + "=" * (-len(word) % 4), validate=True))
    except (binascii.Error, ValueError):
        return None


def _readable(data: bytes) -> str | None:
    """What bytes say, if it is text."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if len(text) >= 8 and all(c.isprintable() or c.isspace() for c in text) else None


@cache
def _lookalikes() -> dict[str, str]:
    found = {}
    for line in _LOOKALIKES.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            letter, _, codes = line.partition("\t")
            found.update({chr(int(code, 16)): letter for code in codes.split()})
    return found


@cache
def _latin(character: str) -> str:
    """The Latin letter or digit that a character is a form of, or looks like; else the character itself."""
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.digit(character))
    named = _NAMED.fullmatch(unicodedata.name(character, ""))
    if named is not None:
        return named.group(1).lower()
    return _LOOSER.get(character) or _lookalikes().get(character, character)
