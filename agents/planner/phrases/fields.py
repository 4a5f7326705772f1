"""A request's fields as people name them: by types, names, units, values and what is declared beside them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from ....core.artifact_refs import REF_TYPES
from ....core.errors import OpswrightError
from ....core.inputs import annotation_options, types_in
from ....core.phrasing import Spoken
from .text import key_of_word, stem_of, words
from .words import NEGATIONS, SMALL

_UNITS = {
    "percent": "percent", "minutes": "minutes", "s": "seconds", "seconds": "seconds", "ms": "milliseconds",
    "mb": "mb", "steps": "steps", "hours": "hours", "tokens": "tokens",
}  # fmt: skip
_SHARES = words(
    "share shares fraction ratio jaccard cosine drop agreement disagreement alpha min overall new golden"
)
_LEAST = 3  # letters of a word that tells what a field is about
_EMPTY = SMALL - words("time per results last all steps minutes seconds hours percent")
Words = tuple[str, ...]


@dataclass(frozen=True)
class FieldWords:
    """One field of a request, and how a sentence can give it a value."""

    name: str
    is_required: bool
    names: tuple[Words, ...]
    values: tuple[tuple[Words, Any], ...]  # words, and the value they stand for
    plain_values: tuple[str, ...]
    kinds: tuple[str, ...]  # of artifacts that it takes, in its own order
    takes_path: bool
    takes_number: bool
    takes_whole: bool
    is_flag: bool
    takes_text: bool
    is_list: bool
    unit: str  # percent, minutes, seconds, ...; empty: told by its names alone
    is_share: bool
    is_suite: bool
    is_endpoint: bool
    model: type[BaseModel] | None  # of a nested request
    is_asked: bool  # naming it without a value is asked about
    is_time: bool  # text that is a day or a time
    takes_mapping: bool  # names with values
    own_text: type[str] | None  # text of a form of its own, told by its form
    about: frozenset[str]  # what its name and its sentence speak of, without endings
    inside: tuple[FieldWords, ...]  # of a nested request, its fields
    says: frozenset[str]  # every word of its sentence, without endings


def field_words(request: type[BaseModel]) -> list[FieldWords]:
    """The fields of a request, those it needs first."""
    found = [_words(name, info) for name, info in request.model_fields.items()]
    lasts = Counter(one.name.rpartition("_")[2] for one in found)
    every = {name for one in found for name in one.names}
    found = [_with_last(one, every) if lasts[one.name.rpartition("_")[2]] == 1 else one for one in found]
    return sorted(found, key=lambda one: not one.is_required)


def _with_last(one: FieldWords, every: set[Words]) -> FieldWords:
    """A number's field is also called by the last word of its name, where no other one is: alpha, decay."""
    last = (key_of_word(one.name.rpartition("_")[2]),)
    return (
        replace(one, names=(*one.names, last))
        if one.takes_number and last not in every and not one.unit
        else one
    )


def _inside(model: type[BaseModel] | None) -> tuple[FieldWords, ...]:
    """The fields of a request within the request."""
    return tuple(field_words(model)) if model is not None else ()


def _words(name: str, info: FieldInfo) -> FieldWords:
    options = list(annotation_options(info.annotation))
    spoken = next((mark for mark in info.metadata if isinstance(mark, Spoken)), Spoken())
    lists = [one for one in options if get_origin(one) in (tuple, list)]
    inner = [
        one
        for group in lists
        for arg in get_args(group)
        if arg is not Ellipsis
        for one in annotation_options(arg)
    ]
    every = options + inner
    values = _values(every, spoken)
    is_flag = bool in options
    numbers = any(one in (int, float) for one in every)
    ending = name.rpartition("_")[2]
    is_suite = name == "suite" or name.endswith("_suite")
    return FieldWords(
        name=name,
        is_required=info.is_required(),
        names=tuple(
            dict.fromkeys(
                _split(said)
                for said in (
                    name.replace("_", " "),
                    name,
                    *_without_bound(name),
                    *_one_of(name, is_texts=bool(lists) and str in every),
                    *spoken.names,
                )
            )
        ),
        values=values,
        plain_values=tuple(str(value) for _, value in values),
        kinds=_kinds(every),
        takes_path=any(isinstance(one, type) and issubclass(one, Path) for one in every),
        takes_number=numbers,
        takes_whole=int in every,
        is_flag=is_flag,
        takes_text=str in every and not is_suite,
        own_text=_own_text(every),
        takes_mapping=any(_holds_fields(one) for one in options),
        is_list=bool(lists),
        unit=_unit(ending, info.description or "") if numbers else "",
        is_share=numbers and float in every and any(part in _SHARES for part in name.split("_")),
        is_suite=is_suite,
        is_endpoint=name == "endpoint",
        model=next((one for one in options if isinstance(one, type) and issubclass(one, BaseModel)), None),
        is_asked=spoken.asked,
        is_time=str in every and "ISO 8601" in (info.description or ""),
        about=about_words(f"{name.replace('_', ' ')} {' '.join(spoken.names)} {info.description or ''}"),
        inside=_inside(
            next((one for one in options if isinstance(one, type) and issubclass(one, BaseModel)), None)
        ),
        says=frozenset(
            stem_of(key_of_word(word.strip(".,:;()'`"))) for word in (info.description or "").split()
        )
        - NEGATIONS,
    )


def _holds_fields(option: Any) -> bool:
    return get_origin(option) is dict or (isinstance(option, type) and issubclass(option, BaseModel))


def _own_text(options: list[Any]) -> type[str] | None:
    """A type of text that only some words are of: "h100" is a kind of GPU."""
    texts = [one for one in options if isinstance(one, type) and issubclass(one, str)]
    own = [
        one for one in texts if one is not str and one not in REF_TYPES.values() and not issubclass(one, Enum)
    ]
    return own[0] if own and str not in texts else None


def is_of(word: str, kind: type[str]) -> bool:
    """Whether a word is a text of this type."""
    try:
        TypeAdapter(kind).validate_python(word)
    except (ValueError, OpswrightError):
        return False
    return True


def about_words(text: str) -> frozenset[str]:
    """The stems of a sentence's words that mean something by themselves."""
    keys = [key_of_word(word.strip(".,:;()'`")) for word in text.split()]
    return frozenset(
        stem_of(key) for key in keys if len(key) >= _LEAST and key.isalpha() and key not in _EMPTY
    )


def _unit(ending: str, about: str) -> str:
    """The unit of a number's field, by its name or the first word of its sentence."""
    return _UNITS.get(ending, "") or ("percent" if about.startswith("Percent") else "")


def _without_bound(name: str) -> list[str]:
    """`max_steps` is also called steps, `timeout_s` timeout."""
    bound, _, rest = name.partition("_")
    before, _, unit = name.rpartition("_")
    without_unit = [before.replace("_", " ")] if unit in _UNITS and unit != "steps" and before else []
    return [rest.replace("_", " ")] * (bound in ("max", "min") and bool(rest)) + without_unit


def _one_of(name: str, *, is_texts: bool) -> list[str]:
    """A list of texts is also called by one of it: "the filter toxicity"."""
    return [name[:-1].replace("_", " ")] if is_texts and name.endswith("s") else []


def _split(said: str) -> Words:
    return tuple(key_of_word(word) for word in said.split())


def _values(options: list[Any], spoken: Spoken) -> tuple[tuple[Words, Any], ...]:
    plain: list[str] = []
    for option in options:
        if get_origin(option) is Literal:
            plain += [str(value) for value in get_args(option)]
        elif isinstance(option, type) and issubclass(option, Enum):
            plain += [str(one.value) for one in option]
    found = {_split(value): value for value in (*plain, *spoken.values)}
    for value, ways in spoken.values.items():
        found |= {_split(way): value for way in ways}
    return tuple(sorted(found.items(), key=lambda one: -len(one[0])))


def _kinds(options: list[Any]) -> tuple[str, ...]:
    known = {ref: kind for kind, ref in REF_TYPES.items()}
    direct = [known[one] for one in options if isinstance(one, type) and one in known]
    return tuple(dict.fromkeys(direct))


def kinds_given(annotation: Any) -> tuple[str, ...]:
    """The kinds of artifact that a result's field holds."""
    known = {ref: kind for kind, ref in REF_TYPES.items()}
    return tuple(known[one] for one in types_in(annotation) if one in known)
