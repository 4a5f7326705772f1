"""Values that are words: those of a list, switches with or without, times, and "name is value"."""

from __future__ import annotations

from .clause_tokens import ClauseTokens
from .drafts import StepDraft
from .fields import FieldWords, is_of
from .mappings import is_named_mapping, mapping_of
from .text import Token, words
from .wording import word_list
from .words import ARTICLES, PREPOSITIONS, SMALL

VERBS = word_list("verbs")
"""Verbs of every day that an order may begin with, whatever the skills are."""
_DESCRIBES = words(
    "last latest best first all auto local current none train test text keep drop one case order"
)
_ON = words("with enable use using turn set")
_OFF = words("without no not disable")
_BESIDE_FLAG = words(
    "no not do don without skip disable but please and also just any the it at in end then now ok okay this"
    " that yet afterwards of course"
)
_TRUE = {
    "true": True,
    "on": True,
    "yes": True,
    "enabled": True,
    "false": False,
    "off": False,
    "no": False,
    "disabled": False,
}
_LINKS = words("is = : called named to of as set be should from in at by")
_LEADS = words("with set use using and , the by in on under a from") | ARTICLES
_JOINED = words("and or , & plus +")
_BETWEEN_VALUES = _JOINED | ARTICLES | words("for of with in also")
_AFTER = words("after from since starting")


def fill_values(
    step: StepDraft, fields: list[FieldWords], clause: ClauseTokens, known: frozenset[str] = frozenset()
) -> None:
    """Values that are words, switches and "name is value"; `known`: words with a meaning of their own."""
    _times(step, fields, clause)
    _own_texts(step, fields, clause, known)
    for one in fields:
        if one.name in step.arguments:
            continue
        _listed(step, one, clause, fields)
        if one.name in step.arguments:
            continue
        if one.is_flag:
            _switch(step, one, clause)
        elif not one.is_required and _left_unset(one, clause):
            continue
        elif one.takes_text and not one.is_endpoint and not one.kinds:
            _named_text(step, one, clause, known)


def fill_mappings(step: StepDraft, fields: list[FieldWords], clause: ClauseTokens) -> None:
    """Names with values in braces, behind the field's own name: "shape={gateway_image: gw:1}"."""
    for at, token in enumerate(clause.tokens):
        if token.kind != "mapping" or at in clause.taken:
            continue
        for one in fields:
            if one.takes_mapping and is_named_mapping(clause.tokens, at, frozenset(one.names)):
                step.arguments[one.name] = mapping_of(token.text)
                clause.taken |= {at} | clause.name_beside(one, at)
                break


def _own_texts(
    step: StepDraft, fields: list[FieldWords], clause: ClauseTokens, known: frozenset[str]
) -> None:
    """Words that have the form of one field's text alone: "on an h100"."""
    for at, token in enumerate(clause.tokens):
        if at in clause.taken or not token.is_word or token.key in known:
            continue
        fits = [one for one in fields if one.own_text is not None and is_of(token.text.lower(), one.own_text)]
        if len(fits) == 1 and fits[0].name not in step.arguments:
            step.arguments[fits[0].name] = token.text.lower()
            clause.taken |= {at} | clause.name_beside(fits[0], at)


def _listed(step: StepDraft, one: FieldWords, clause: ClauseTokens, fields: list[FieldWords]) -> None:
    """A value of a list, or several in the order they are said."""
    found: dict[str, int] = {}
    for said, value in one.values:
        at = clause.find_set(one, said)
        if at is None:
            at = clause.find(said)
        if at is None:
            at = clause.find(said, literal=True)
        if at is None or (
            one.name not in clause.slots_at(at)
            and _needs_name(said)
            and not clause.is_named(one, at)
            and not _is_joined(at, one, clause)
        ):
            continue
        if len(said) == 1 and clause.inside_name(at, fields, one):
            if not one.is_list:
                step.arguments[one.name] = value  # "lora rank 8" says both
            continue
        clause.taken |= set(range(at, at + len(said))) | clause.name_beside(one, at)
        found.setdefault(value, at)
        if not one.is_list:
            step.arguments[one.name] = value
            return
    if found:
        step.arguments[one.name] = sorted(found, key=lambda value: found[value])


def _is_joined(at: int, one: FieldWords, clause: ClauseTokens) -> bool:
    """Whether another value of the list stands before an "and" or a comma: "robustness typos and case"."""
    keys = [token.key for token in clause.tokens]
    every = {said[-1] for said, _ in one.values}
    before = at
    while before and keys[before - 1] in _BETWEEN_VALUES:
        before -= 1
    joined = bool(_JOINED & set(keys[before:at]))
    if one.is_list and before and joined and keys[before - 1] in every:
        return True
    return (
        one.is_list
        and keys[at + 1 : at + 2] == ["+"]
        and keys[at + 2 : at + 3] != []
        and keys[at + 2] in every
    )


def _times(step: StepDraft, fields: list[FieldWords], clause: ClauseTokens) -> None:
    """Days and times, by the word before each: "since 2026-01-01", "until 2026-02-01"."""
    times = [one for one in fields if one.is_time]
    for at, token in enumerate(clause.tokens):
        if token.kind != "date" or at in clause.taken or not times:
            continue
        before = next((t.key for t in reversed(clause.tokens[:at]) if t.key not in ARTICLES | {"=", ":"}), "")
        named = [one for one in times if clause.is_named(one, at)]
        told = [one for one in times if one.name.split("_")[-1] == before or one.name == before]
        loose = [one for one in times if before in _AFTER and one.name.split("_")[-1] == "since"]
        one = next(iter(named or told or loose), None)
        if one is not None and one.name not in step.arguments:
            step.arguments[one.name] = token.text
            clause.taken |= {at} | clause.name_beside(one, at)


def _needs_name(words: tuple[str, ...]) -> bool:
    return len(words) == 1 and (words[0] in _DESCRIBES or words[0] in SMALL)


def _left_unset(one: FieldWords, clause: ClauseTokens) -> bool:
    """Whether a field that need not be given is said to be left out: "no replay", "without guardrails"."""
    own = one.name.split("_")
    for name in (said for said in one.names if one.kinds or set(said) & set(own)):
        for off in ("no", "without"):
            if (at := clause.find((off, *name))) is not None:
                clause.taken |= set(range(at, at + 1 + len(name)))
                return True
    return False


def _switch(step: StepDraft, one: FieldWords, clause: ClauseTokens) -> None:
    for name in one.names:
        at = clause.find(name)
        if at is None:
            continue
        keys = [token.key for token in clause.tokens]
        before = at - 1
        while before >= 0 and keys[before] in ARTICLES:
            before -= 1
        after = at + len(name)
        while after < len(keys) and keys[after] in _LINKS:
            after += 1
        lead = keys[before] if before >= 0 else ""
        if after < len(keys) and keys[after] in _TRUE:
            step.arguments[one.name] = _TRUE[keys[after]]
            clause.taken |= set(range(at, after + 1))
        elif lead in _OFF | _ON or lead in _TRUE:
            step.arguments[one.name] = _TRUE.get(lead, lead not in _OFF)
            clause.taken |= {before, *range(at, at + len(name))}
        elif lead in ("", ",", "and") and after == len(keys):
            step.arguments[one.name] = True
            clause.taken |= set(range(at, at + len(name)))
        else:
            continue
        return


def _named_text(step: StepDraft, one: FieldWords, clause: ClauseTokens, known: frozenset[str]) -> None:
    """The text behind a field's name, or before it; several of them for a list."""
    keys = [token.key for token in clause.tokens]
    for name in one.names:
        at = clause.find(name)
        if at is None:
            continue
        end = at + len(name)
        while end < len(keys) and keys[end] in _LINKS:
            end += 1
        linked = end > at + len(name) and keys[end - 1] in (
            "=",
            ":",
            "is",
            "called",
            "named",
            "to",
            "be",
            "as",
        )
        sure = linked or len(name) > 1 or (at > 0 and keys[at - 1] in _LEADS)
        places = _texts_at(clause, end, one.is_list, frozenset() if sure else known)
        if not places and at and not sure and _texts_at(clause, at - 1, False, known):
            places = [at - 1]
        if places:
            values = [clause.tokens[place].text for place in places]
            step.arguments[one.name] = values if one.is_list else values[0]
            clause.taken |= {*range(at, end), *places}
            return


def _texts_at(clause: ClauseTokens, at: int, several: bool, known: frozenset[str]) -> list[int]:
    """The places of a text, or of a list of them, that begins here."""
    found: list[int] = []
    while at < len(clause.tokens):
        token = clause.tokens[at]
        if token.kind not in ("word", "quoted", "address", "path") or at in clause.taken:
            break
        if at + 1 < len(clause.tokens) and clause.tokens[at + 1].key == "=":
            break  # the name of another value
        if token.kind == "word" and (token.key in SMALL | PREPOSITIONS or token.key in known):
            break
        found.append(at)
        at += 1
        joined = at
        while several and joined < len(clause.tokens) and clause.tokens[joined].key in _JOINED:
            joined += 1
        if not several or joined == at:
            break
        at = joined
    return found


def flag_said(tokens: list[Token], fields: list[FieldWords]) -> FieldWords | None:
    """The switch that a denial names and nothing else: "but do not promote it at the end"; None for more."""
    named = tuple(token.key for token in tokens if token.kind not in ("end", "mark"))
    named = tuple(key for key in named if key not in _BESIDE_FLAG)
    for one in (one for one in fields if one.is_flag):
        beside = VERBS | one.says - {key for name in one.names for key in name}
        left = tuple(key for key in named if key not in beside or any(key in name for name in one.names))
        if left in one.names and len(left) < len(named):
            return one
    if len(named) != 1:
        return next((one for one in fields if one.is_flag and named in one.names), None)
    flags = [(one, name[0]) for one in fields if one.is_flag for name in one.names if len(name) == 1]
    return next((one for one, key in flags if named[0] in (key, key.removesuffix("e") + "ing")), None)
