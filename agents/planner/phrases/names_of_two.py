"""Names of two words said the other way round: "rate of learning" for the learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from .phrase_patterns import PhrasePattern
from .text import Token
from .words import ARTICLES


def in_order(tokens: list[Token], names: frozenset[tuple[str, str]]) -> list[Token]:
    """The tokens with "A of B" as "B A", where that is one of the names."""
    found = list(tokens)
    at = 0
    while at + 2 < len(found):
        behind = at + 2 + (found[at + 2].key in ARTICLES)
        if behind < len(found) and found[at + 1].key == "of":
            first, second = found[at], found[behind]
            if first.is_word and second.is_word and (second.key, first.key) in names:
                found[at : behind + 1] = [second, first]
        at += 1
    return found


def names_turned(
    patterns: Iterable[PhrasePattern], fields: Iterable[tuple[str, ...]], plain: frozenset[str]
) -> frozenset[tuple[str, str]]:
    """Names of two words, of fields and of things in phrases, that no phrase says the other way round.

    plain: words that are no part of such a name.
    """
    pairs = {(name[0], name[1]) for name in fields}
    turned: set[tuple[str, str]] = set()
    for pattern in patterns:
        said = pattern.parts
        pairs |= {
            (one.key, other.key)
            for one, other in pairwise(said)
            if not (one.is_slot or other.is_slot or one.may_miss or other.may_miss)
        }
        turned |= {
            (said[at + 2].key, said[at].key) for at in range(len(said) - 2) if said[at + 1].key == "of"
        }
    return frozenset(name for name in pairs - turned if not set(name) & plain)
