"""Instructions that can be checked without a model: length, words, form, case, script.

Which hold for a sample stands in its metadata's `constraints`, which hold for all in the suite. They are of
the kind of IFEval's (Zhou et al., 2023, arXiv:2311.07911); names and checks are our own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...core.errors import AskError
from ...data.sample import Sample
from .base import ScoreFunction, ScoringContext
from .structured import NotJson, read_json
from .words import words

_BULLET = re.compile(r"^\s*(?:[-*\u2022]|\d{1,3}[.)])\s+\S", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?\u2026]+(?=[\"')\]\u201d]*(?:\s|$))|[\u3002\uff01\uff1f\u0964]")
_HEADING = re.compile(r"\A\s*#{1,6}\s+\S")
_FENCED = re.compile(r"\A\s*```[^\n]*\n.*\n\s*```\s*\Z", re.DOTALL)
_SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "latin": ("LATIN",),
    "cyrillic": ("CYRILLIC",),
    "greek": ("GREEK",),
    "arabic": ("ARABIC",),
    "hebrew": ("HEBREW",),
    "devanagari": ("DEVANAGARI",),
    "thai": ("THAI",),
    "korean": ("HANGUL", "CJK"),
    "chinese": ("CJK",),
    "japanese": ("HIRAGANA", "KATAKANA", "CJK"),
}
_MOSTLY = 0.9  # of the letters: names and units of another script are no other language

Text = Annotated[str, Field(min_length=1)]
Number = Annotated[int, Field(ge=0)]
Script = Literal[
    "latin", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "thai", "korean", "chinese", "japanese"
]


class Constraints(BaseModel):
    """What an answer must be like; whatever is not named is free."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    min_words: Number | None = None
    max_words: Number | None = None
    min_characters: Number | None = None
    max_characters: Number | None = None
    min_sentences: Number | None = None
    max_sentences: Number | None = None
    paragraphs: Number | None = None
    bullets: Number | None = None
    include: list[Text] = []
    exclude: list[Text] = []
    starts_with: Text | None = None
    ends_with: Text | None = None
    case: Literal["lower", "upper"] | None = None
    form: Literal["json", "code", "heading", "one_line"] | None = None
    commas: Literal[False] | None = None
    script: Script | None = None


def constraints(context: ScoringContext, for_all: dict[str, Any] | None = None) -> ScoreFunction:
    """Every constraint holds: those of the sample's metadata, and those `for_all`."""
    return _scored(for_all, lambda held: float(all(held)))


def constraints_share(context: ScoringContext, for_all: dict[str, Any] | None = None) -> ScoreFunction:
    """The share of constraints that hold, each word to include or to leave out being one."""
    return _scored(for_all, lambda held: sum(held) / len(held))


def _scored(for_all: dict[str, Any] | None, over: Callable[[list[bool]], float]) -> ScoreFunction:
    common = constraints_of(for_all or {}, "for_all")

    def score(sample: Sample, answer: str) -> float | None:
        own = constraints_of(sample.metadata.get("constraints", {}), f"metadata of sample '{sample.id}'")
        held = [*_held(common, answer), *_held(own, answer)]
        return over(held) if held else None

    return score


def constraints_of(document: Any, where: str) -> Constraints:
    """The constraints of a document; AskError naming the first thing that is none."""
    try:
        return Constraints.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "constraints"
        known = ", ".join(Constraints.model_fields)
        raise AskError(f"constraints of {where}: {place}: {first['msg']} (there are: {known}).") from error


def _held(wanted: Constraints, answer: str) -> Iterator[bool]:
    """Whether each constraint holds that is named."""
    for name, value in wanted.model_dump(exclude_defaults=True).items():
        if name == "include":
            yield from (one.casefold() in answer.casefold() for one in value)
        elif name == "exclude":
            yield from (one.casefold() not in answer.casefold() for one in value)
        else:
            yield _CHECKS[name](answer.strip(), value)


def _count_words(text: str) -> int:
    return sum(word[0].isalnum() for word in words(text))


def _count_sentences(text: str) -> int:
    """Sentences by their ends; a last one may lack its own."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    rest = text[ends[-1] if ends else 0 :]
    return len(ends) + any(character.isalnum() for character in rest)


def _has_case(text: str, case: str) -> bool:
    return text == (text.lower() if case == "lower" else text.upper())


def _has_form(text: str, form: str) -> bool:
    if form == "json":
        try:
            read_json(text)
        except NotJson:
            return False
        return True
    if form == "one_line":
        return len(text.splitlines()) == 1
    return bool((_HEADING if form == "heading" else _FENCED).match(text))


def _has_script(text: str, script: str) -> bool:
    """Whether nearly all letters are of a script; a text without letters is of none."""
    letters = [character for character in text if character.isalpha()]
    fit = sum(unicodedata.name(letter, "").startswith(_SCRIPTS[script]) for letter in letters)
    return bool(letters) and fit >= _MOSTLY * len(letters)


_CHECKS: Mapping[str, Callable[[str, Any], bool]] = {
    "min_words": lambda text, n: _count_words(text) >= n,
    "max_words": lambda text, n: _count_words(text) <= n,
    "min_characters": lambda text, n: len(text) >= n,
    "max_characters": lambda text, n: len(text) <= n,
    "min_sentences": lambda text, n: _count_sentences(text) >= n,
    "max_sentences": lambda text, n: _count_sentences(text) <= n,
    "paragraphs": lambda text, n: len([one for one in re.split(r"\n\s*\n", text) if one.strip()]) == n,
    "bullets": lambda text, n: len(_BULLET.findall(text)) == n,
    "starts_with": lambda text, start: text.startswith(start),
    "ends_with": lambda text, end: text.endswith(end),
    "case": _has_case,
    "form": _has_form,
    "commas": lambda text, _: not set(text) & set(",\uff0c\u3001\u060c"),
    "script": _has_script,
}
