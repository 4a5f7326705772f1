"""Wishes whose verb does not come first: "please the last model to evaluate", "int4 engine from ..."."""

from __future__ import annotations

from ....core.contract import Effect
from .lexicon import DESCRIBING, Lexicon
from .mentions import is_release
from .text import Token, words
from .words import ARTICLES, PREPOSITIONS

_BESIDE = words("please to then now also file folder suite endpoint data model , %  percent pls kindly it")
_LONGEST = 12  # words before the verb
_SAYING = ("ref", "path", "address")


def verb_first(
    tokens: list[Token], lexicon: Lexicon, names: frozenset[str], lead: list[str]
) -> list[Token] | None:
    """The tokens with what tells what to do at their start, or None.

    Nothing but what a step is given may stand before it: things, names, values. lead: the politeness before
    them, "can you" or the like, which what serves needs.
    """
    if (turned := _passive(tokens, lexicon, names, lead)) is not None:
        return turned
    is_asked = bool(lead)
    for at in range(1, min(len(tokens), _LONGEST)):
        if not tokens[at].is_word or tokens[at].key not in lexicon.heads:
            continue
        before = [token for token in tokens[:at]]
        if (tokens[at - 1].key, tokens[at].key) in lexicon.names_of_two:
            continue  # "with a learning rate of ..."
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


def _passive(
    tokens: list[Token], lexicon: Lexicon, names: frozenset[str], lead: list[str]
) -> list[Token] | None:
    """What is to be done with a thing that is said first: "model-2 must be evaluated on ...".

    Also "have the last model packaged as ..." and "data.csv needs cleaning"; never what serves.
    """
    if tokens and tokens[0].key in ("have", "get") and lead:
        tokens, lead = tokens[1:], [*lead, "have"]
    things = lexicon.kind_words | names | ARTICLES | DESCRIBING | _SOMETHING
    end = 0
    while end < min(len(tokens), _LONGEST) and (
        tokens[end].kind in _SAYING
        or tokens[end].key in things
        or (end and tokens[end].key in _OF and {t.key for t in tokens[end + 1 : end + 3]} & names)
    ):
        end += 1
    wanted = end
    while wanted < len(tokens) and tokens[wanted].key in _MUST:
        wanted += 1
    if wanted >= len(tokens):
        return None
    verb = tokens[wanted].key
    said = [token.key for token in tokens[end:wanted]]
    must = set(said) & _MODAL
    must |= {"must"} if said[:1] in (["is"], ["are"]) and said[1:3] == ["to", "be"] else set()
    needed = bool(must) or (end == 0 and wanted > 0 and _MODAL & set(lead)) or _wants(lead)
    head = lexicon.participles.get(verb)
    if head is None and wanted == end + 1 and tokens[end].key in ("needs", "need"):
        head = lexicon.gerunds.get(verb)
    if head is None or not needed or (end == 0 and wanted == 0):
        return None
    turned = [Token(tokens[wanted].text, "word", head), *tokens[:end], *tokens[wanted + 1 :]]
    found = lexicon.matches(turned)
    if found and found[0].skill.effect is Effect.SERVES and not _is_sure(tokens[:end], must, lead, tokens):
        return None
    return turned if found else None


def _is_sure(things: list[Token], must: set[str], lead: list[str], tokens: list[Token]) -> bool:
    """Whether what serves is wanted: something is named outright, and must be or is asked for."""
    named = any(token.kind == "ref" or is_release(token) or token.key == "canary" for token in things)
    asked = {"please", "pls", "kindly"} & {*lead, *(token.key for token in tokens)} or _wants(lead)
    return named and bool(must - {"should", "shall", "ought"} or asked)


_SOMETHING = words("something it them")
_OF = words("on of at behind")
_MUST = words("must should shall needs need has have ought to be is are now please also first finally still")
_MODAL = words("must should shall needs need has ought")


def _wants(lead: list[str]) -> bool:
    """Whether politeness asks for something to be had: "we would like to have", "can we get"."""
    said = set(lead)
    return bool(said & words("want like love need")) or (
        bool(said & {"have", "get"}) and bool(said & words("can could to would please let"))
    )


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
    if any(token.is_word and token.key not in lexicon.known | names for token in rest[1:3]):
        return None  # "the mails export finally arrived" tells of an export
    while before and before[-1].key in ("to", "please", ",", "pls", "kindly"):
        before = before[:-1]
    ahead, behind = [rest[0], *before, *rest[1:]], [*rest, *before]
    return behind if lexicon.fit(behind) > lexicon.fit(ahead) else ahead


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
