"""Wishes whose verb does not come first: "please the last model to evaluate", "int4 engine from ..."."""

from __future__ import annotations

from ....core.contract import Effect
from .lexicon import DESCRIBING, Lexicon
from .text import Token, words
from .words import ARTICLES, PREPOSITIONS

_BESIDE = words("please to then now also file folder suite endpoint data model , %  percent pls kindly it")
_LONGEST = 12  # words before the verb
_SAYING = ("ref", "path", "address")


def verb_first(
    tokens: list[Token], lexicon: Lexicon, names: frozenset[str], *, is_asked: bool
) -> list[Token] | None:
    """The tokens with what tells what to do at their start, or None.

    Nothing but what a step is given may stand before it: things, names, values. is_asked: "can you" or the
    like stands before them, which what serves needs.
    """
    for at in range(1, min(len(tokens), _LONGEST)):
        if not tokens[at].is_word or tokens[at].key not in lexicon.heads:
            continue
        before = [token for token in tokens[:at]]
        turned = _with_things(before, tokens[at:], lexicon, names) or _with_values(
            before, tokens[at:], lexicon
        )
        if turned is None:
            continue
        found = lexicon.matches(turned)
        asked = is_asked or any(token.key in ("please", "pls", "kindly") for token in before)
        if found and (asked or found[0].skill.effect is not Effect.SERVES):
            return turned
    return None


def _with_things(
    before: list[Token], rest: list[Token], lexicon: Lexicon, names: frozenset[str]
) -> list[Token] | None:
    """The verb, then the things that stood before it, then what stood behind it."""
    things = lexicon.kind_words | names
    loose = ARTICLES | PREPOSITIONS | DESCRIBING | _BESIDE
    if rest[0].key in lexicon.nouns or not all(
        token.kind in _SAYING or token.key in things | loose for token in before
    ):
        return None
    if not any(token.kind in _SAYING or token.key in things for token in before):
        return None
    while before and before[-1].key in ("to", "please", ",", "pls", "kindly"):
        before = before[:-1]
    return [rest[0], *before, *rest[1:]]


def _with_values(before: list[Token], rest: list[Token], lexicon: Lexicon) -> list[Token] | None:
    """What is to be done, then the values that stood before it: "lora finetune of ...", "int4 engine"."""
    found = lexicon.matches(rest)
    if not found or found[0].skill.effect is Effect.SERVES or len(before) > 4:
        return None
    fields = lexicon.fields[found[0].skill.name]
    said = {key for one in fields for value, _ in one.values for key in value}
    said |= {key for one in fields if one.takes_number for name in one.names for key in name}
    said -= DESCRIBING
    valued = any(token.key in said or token.kind == "number" for token in before)
    fits = all(token.kind == "number" or token.key in said | ARTICLES | {"%", "percent"} for token in before)
    return [*rest, Token(",", "mark", ","), *before] if valued and fits else None
