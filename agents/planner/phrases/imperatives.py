"""An order whose verb no phrase knows, read by the words of the thing it is about: "watch shop for drift"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .accounting import ClauseReading
from .clauses import Clause
from .lexicon import Lexicon
from .loose_reading import said_anywhere
from .phrase_patterns import PhraseMatch
from .text import Token
from .word_values import VERBS
from .words import ARTICLES

_FOR_ME = ("me", "us")
_LONGEST = 30  # words of such an order
_SURE = 2  # words of a phrase that tell what is meant though something is missing


def with_imperatives(
    clauses: list[Clause],
    lexicon: Lexicon,
    read: Callable[[PhraseMatch, list[Token]], ClauseReading],
    *,
    is_question: bool,
) -> list[Clause]:
    """The clauses, each that orders what one skill alone is about as the wish that it is.

    Never for what serves, and only where every word is placed; what an earlier step may give can be missing.
    """
    if is_question:
        return clauses
    found: list[Clause] = []
    for clause in clauses:
        follows = any(one.kind == "wish" for one in found)
        turned = _ordered(clause, lexicon, read, follows=follows) if clause.kind == "told" else None
        found.append(replace(clause, tokens=turned, kind="wish") if turned else clause)
    return found


def _ordered(
    clause: Clause,
    lexicon: Lexicon,
    read: Callable[[PhraseMatch, list[Token]], ClauseReading],
    *,
    follows: bool,
) -> list[Token] | None:
    """The tokens of an order, so that the phrase of the one skill that takes them all stands first."""
    tokens = clause.tokens
    if not 1 < len(tokens) <= _LONGEST or tokens[0].key not in VERBS:
        return None
    start = 1 + (tokens[1].key in _FOR_ME)
    for said in (tokens, tokens[start:]):
        while said and said[0].key in ARTICLES:
            said = said[1:]
        if (turned := _turned(said, lexicon, read, follows=follows)) is not None:
            return turned
    return None


def _turned(
    tokens: list[Token],
    lexicon: Lexicon,
    read: Callable[[PhraseMatch, list[Token]], ClauseReading],
    *,
    follows: bool,
) -> list[Token] | None:
    best: dict[str, tuple[int, list[Token]]] = {}
    tried: set[tuple[str, frozenset[int]]] = set()
    for match in said_anywhere(tokens, lexicon):
        name = match.skill.name
        if (name, match.used) in tried or (name in best and best[name][0] >= len(match.used)):
            continue
        tried.add((name, match.used))
        places = sorted(match.used)
        own = [Token(tokens[at].text, "word", key) for at, key in zip(places, _heads(match), strict=False)]
        turned = [*own, *(token for at, token in enumerate(tokens) if at not in match.used)]
        fit = next((one for one in lexicon.every_match(turned) if one.pattern is match.pattern), None)
        if fit is None:
            continue
        reading = read(fit, turned)
        left = reading.unused or reading.unknown or reading.negations
        needed = {one.name for one in lexicon.fields[name] if one.is_required}
        given = bool(needed & set(reading.own)) or not needed or len(match.used) > 1
        lacks = reading.step.missing and not follows and len(match.used) < _SURE
        if not left and given and not lacks:
            best[name] = (len(match.used), turned)
    most = max((count for count, _ in best.values()), default=0)
    fullest = [turned for count, turned in best.values() if count == most]
    return fullest[0] if len(fullest) == 1 else None


def _heads(match: PhraseMatch) -> list[str]:
    """The words of a phrase that may not be missing."""
    return [part.key for part in match.pattern.parts if not (part.is_slot or part.may_miss)]
