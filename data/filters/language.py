"""Filters by the script and the language of a text."""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

from ...core.errors import AskError, NeedsError, did_you_mean
from ...core.install import install_hint
from ..sample import ASSISTANT, Sample, asked_of, text_of
from .base import Filter

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_LETTERS = 40  # of a text, by which its script is told
_CHARS = 2000  # of a text, by which its language is told
_SURE, _SURE_LETTERS = 0.99, 30  # probability and letters by which a language is taken as told
_SCRIPTS = {"CJK": "Han", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}
_NO_PROSE = ("{", "[", "<", "```")  # how an answer in JSON, markup or code begins

Identify = Callable[[str], Mapping[str, float]]
"""From a text to the probability of each language, by its ISO 639-1 code."""


def script_of(text: str) -> str:
    """The script that most of a text's first letters are of, as Unicode names it; `none` without letters."""
    if text.isascii():
        return "Latin" if any(map(str.isalpha, text)) else "none"
    letters = [char for char in text[: 4 * _LETTERS] if char.isalpha()][:_LETTERS]
    if not letters:
        return "none"
    return Counter(map(_script_of_letter, letters)).most_common(1)[0][0]


def _script_of_letter(char: str) -> str:
    first = unicodedata.name(char, "unknown").split()[0]
    return _SCRIPTS.get(first, first.capitalize())


@cache
def _known_scripts() -> frozenset[str]:
    """Every script that a letter can be of, and `None`: about 0.3 s, once."""
    letters = filter(str.isalpha, map(chr, range(sys.maxunicode + 1)))
    return frozenset(map(_script_of_letter, letters)) - {"Unknown"} | {"None"}


def script(only: tuple[str, ...]) -> Filter:
    """Leaves out rows whose question, or answer in prose, is in none of some scripts."""
    if not only:
        raise AskError("filter script: name the scripts to keep, as in script:only=Latin+Greek.")
    for name in only:
        if name.capitalize() not in (known := _known_scripts()):
            raise AskError(f"filter script: unknown script '{name}'.{did_you_mean(name.capitalize(), known)}")
    wanted = {name.casefold() for name in only} | {"none"}

    def judge(sample: Sample) -> str | None:
        for part, text in _parts(sample):
            if (found := script_of(text)).casefold() not in wanted:
                return f"the {part} is in {found} script"
        return None

    return judge


def language(
    only: tuple[str, ...], max_probability: float, min_letters: float, identify: Identify | None = None
) -> Filter:
    """Leaves out rows whose question, or answer in prose, is surely in none of some languages.

    only: ISO 639-1 codes; AskError for an unknown one. A row goes where they together have less than
    `max_probability`. A text of fewer than `min_letters` letters stays, since nobody can tell. identify: by
    default py3langid.
    """
    if not only:
        raise AskError("filter language: name the languages to keep, as in language:only=en+de.")
    tell = identify or _known_languages(only)

    def judge(sample: Sample) -> str | None:
        for part, text in _parts(sample):
            begin = text[:_CHARS]
            if sum(map(str.isalpha, begin)) < min_letters:
                continue
            likely = tell(begin)
            if sum(likely.get(one, 0.0) for one in only) < max_probability:
                found = max(likely, key=lambda one: likely[one])
                return f"the {part} is in '{found}' ({likely[found]:.2f})"
        return None

    return judge


def sure_language(text: str) -> str | None:
    """The language of a text, by its ISO 639-1 code; None where it is not sure, or py3langid not there."""
    begin = text[:_CHARS]
    if sum(map(str.isalpha, begin)) < _SURE_LETTERS:
        return None
    try:
        name, probability = max(_identifier().rank(begin), key=lambda pair: pair[1])
    except NeedsError:
        return None
    return str(name) if probability >= _SURE else None


def _parts(sample: Sample) -> Iterator[tuple[str, str]]:
    """What is asked, and what is answered in prose."""
    yield "question", asked_of(sample)
    for message in sample.conversation:
        text = text_of(message)
        if message["role"] == ASSISTANT and " " in text.strip() and not text.lstrip().startswith(_NO_PROSE):
            yield "answer", text


def _known_languages(only: tuple[str, ...]) -> Identify:
    """py3langid, which must know the languages; that it is not installed is said with the first text."""
    try:
        known = _identifier().labels
    except NeedsError:
        return lambda text: dict(_identifier().rank(text))
    for one in only:
        if one not in known:
            raise AskError(
                f"filter language: unknown language '{one}': expected a code of ISO 639-1, like en."
                f"{did_you_mean(one, known)}"
            )
    return lambda text: dict(_identifier().rank(text))


@cache
def _identifier() -> LanguageIdentifier:
    """The model that py3langid brings, about 0.2 s to load; NeedsError where it is not installed."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise NeedsError(f"filter language needs py3langid. Install: {install_hint('languages')}") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
