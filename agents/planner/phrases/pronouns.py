"""A canary that was told of and is meant by "it": "the canary on shop looks bad, withdraw it"."""

from __future__ import annotations

from dataclasses import replace

from ....core.contract import Effect
from .clauses import Clause
from .lexicon import Lexicon
from .surroundings import Surroundings
from .text import Token, words

_PLACE = words("on at of for behind")
_LEADS = words("the our that this endpoint")
_IT = words("it this that")
_LEADING = words(", so and please pls just then but")
_NEAR = 3  # words from the verb to "it", at most


def with_canary(
    clauses: list[Clause], lexicon: Lexicon, around: Surroundings, *, is_question: bool
) -> list[Clause]:
    """The clauses, one that says what to do with "it" as said of the one canary that was told of before."""
    if is_question:
        return clauses
    found: list[Clause] = []
    told: list[Token] = []
    for clause in clauses:
        if clause.kind == "told" and (named := _canary_in(clause.whole, around)):
            told = named
        elif told and clause.kind in ("told", "wish"):
            whole = [token for token in clause.whole if token.key not in _LEADING]
            said = [clause, replace(clause, tokens=whole)]
            clause = next(filter(None, (_said_of(one, told, lexicon) for one in said)), clause)
        found.append(clause)
    return found


def _said_of(clause: Clause, told: list[Token], lexicon: Lexicon) -> Clause | None:
    """The clause with the canary in place of "it", where a phrase that serves then begins it and did not."""
    tokens = clause.tokens
    at = next((n for n in range(1, min(len(tokens), _NEAR)) if tokens[n].key in _IT), None)
    if at is None:
        return None
    turned = [*tokens[:at], *told, *tokens[at + 1 :]]
    before = max((one.score for one in lexicon.matches(tokens)), default=0.0)
    now = [one for one in lexicon.matches(turned) if one.score > before]
    if not now or now[0].skill.effect is not Effect.SERVES or "canary" not in _words_of(now[0].pattern.parts):
        return None
    return replace(clause, tokens=turned, kind="wish")


def _words_of(parts: tuple[object, ...]) -> set[str]:
    return {str(getattr(one, "key", "")) for one in parts}


def _canary_in(tokens: list[Token], around: Surroundings) -> list[Token]:
    """The words "canary on ENDPOINT" of what is told; empty where there are none, or several places."""
    keys = [token.key for token in tokens]
    if keys.count("canary") != 1 or sum(key in around.endpoints for key in keys) != 1:
        return []
    at = keys.index("canary")
    end = at + 1
    while end < len(keys) and (keys[end] in _PLACE or keys[end] in _LEADS):
        end += 1
    if end == at + 1 or end >= len(keys) or keys[end] not in around.endpoints:
        return []
    return [Token("the", "word", "the"), tokens[at], Token("on", "word", "on"), tokens[end]]
