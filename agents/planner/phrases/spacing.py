"""What people leave out or double while they type: spaces between words and numbers, letters."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from .text import Token, is_typo_of, words
from .words import ARTICLES, PREPOSITIONS

_GLUED = re.compile(r"(?<![\w.:/=-])([$€]?\d+(?:\.\d+)?)([a-z]{1,14})(?![\w/=-]|[.:]\w)", re.IGNORECASE)
_STROKES = re.compile(r"(?<![\w./-])\d{1,3}(?:/\d{1,3}){1,12}(?![\w./-])")
_BELOW = re.compile(r"(?<!\S)(?:<=?|\u2264)\s*(?=[$€]?\d)")
_ABOVE = re.compile(r"(?<!\S)(?:>=?|\u2265)\s*(?=\d)")
_UNITS = words("ep eps h hr hrs min mins s sec secs ms d usd eur dollars bucks pct percent gb mb")
_BEHIND = re.compile(r"(?<![\w.:/=-])([a-z]{2,14})(\d+(?:\.\d+)?)(?![\w/=-]|[.:]\w)", re.IGNORECASE)
_NO_UNITS = words("st nd rd th k m e x")
_LOOSE = ARTICLES | PREPOSITIONS | words("and last it please then all new first")
_HEX = frozenset("abcdef")
_BITS = re.compile(r"\b(\d+)-bits?\b", re.IGNORECASE)
_LEAST = 4  # letters of a word that another one is glued to
_DOUBLED = re.compile(r"([a-z])\1")


def spaced(text: str, known: Collection[str]) -> str:
    """A text with numbers apart from the words glued to them: "5epochs", "2h", "5/25/50", "<2h"."""

    def apart(match: re.Match[str]) -> str:
        unit = match.group(2).lower()
        is_word = len(unit) > 3 or unit in known or unit + "s" in known
        is_unit = unit in _UNITS or (len(unit) > 2 and is_word and not set(unit) <= _HEX)
        return f"{match.group(1)} {match.group(2)}" if is_unit and unit not in _NO_UNITS else match.group()

    def named(match: re.Match[str]) -> str:
        name = match.group(1).lower()
        is_whole = match.group().lower() in known
        return match.group() if is_whole or name not in known else f"{match.group(1)} {match.group(2)}"

    text = _BITS.sub(r"\1 bit", _BEHIND.sub(named, text))
    text = _STROKES.sub(lambda match: match.group().replace("/", ", "), text)
    return _GLUED.sub(apart, _ABOVE.sub("at least ", _BELOW.sub("under ", text)))


def halves(word: str, known: Collection[str]) -> tuple[str, str] | None:
    """The two words that were written as one, where there is one way only: "thelast", "evaluatethe"."""
    found = [
        (word[:at], word[at:])
        for at in range(1, len(word))
        if word[:at] in known
        and word[at:] in known
        and (word[:at] in _LOOSE or word[at:] in _LOOSE)
        and max(at, len(word) - at) >= (_LEAST if not {word[:at], word[at:]} <= _LOOSE else 3)
    ]
    return found[0] if len(found) == 1 else None


def undoubled(word: str) -> Iterator[str]:
    """The words that this one is with one of two equal letters left out."""
    for match in _DOUBLED.finditer(word):
        yield word[: match.start()] + word[match.start() + 1 :]


def beside_names(
    tokens: list[Token], names: Collection[tuple[str, ...]], sure: Collection[str]
) -> list[Token]:
    """The tokens with a slip in one word of a field's name of two mended by the other: "batch sise"."""
    found = list(tokens)
    for at in range(len(found) - 1):
        pair = found[at : at + 2]
        if not all(token.is_word for token in pair) or (pair[0].key, pair[1].key) in names:
            continue
        for place in (1, 0):
            token, held = pair[place], pair[1 - place].key
            if token.key in sure or not token.key.isalpha():
                continue
            near = {n[place] for n in names if n[1 - place] == held and is_typo_of(token.key, n[place])}
            if len(near) == 1:
                found[at + place] = Token(token.text, "word", near.pop())
                break
    return found


VOWELS = frozenset("aeiou")


def consonants(word: str) -> str:
    """A word as some type it: "fnd" for find."""
    return word[0] + "".join(letter for letter in word[1:] if letter not in VOWELS)
