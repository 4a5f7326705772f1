"""Phrases of skills as patterns: words and slots, and how one fits the start of a clause."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ....core.contract import Skill
from .number_words import NUMBER_WORDS
from .text import Token, key_of_word, stem_of, words
from .words import ARTICLES, PREPOSITIONS, SMALL

_PHRASAL = words("into through after behind onto")
_SLOT = re.compile(r"\{(\w+)\}")
_SAME = {
    one: said[0]
    for said in (
        ("previous", "prior", "former", "earlier", "preceding"),
        ("everybody", "everyone"),
        ("release", "version"),
        ("graphics", "graphic"),
        ("fast", "quick", "quickly"),
        ("nemo", ".nemo"),
    )
    for one in said
}  # words inside a phrase that mean the same
_PLAIN = words("clean proper nice tidy whole complete full simple short small - measured")
_GAP = 3  # words of no meaning that may stand between two words of a phrase


@dataclass(frozen=True)
class PhrasePart:
    """One part of a phrase: a word, or a slot for a field. A preposition may be missing."""

    key: str
    is_slot: bool = False
    may_miss: bool = False


@dataclass(frozen=True)
class PhrasePattern:
    """One phrase of one skill."""

    skill: Skill[Any, Any]
    parts: tuple[PhrasePart, ...]
    values: frozenset[str] = frozenset()  # words of values that may stand between two words

    @property
    def head(self) -> str:
        """The word it begins with."""
        return self.parts[0].key

    def match(self, tokens: list[Token]) -> PhraseMatch | None:
        """How it fits the start of these tokens, or None."""
        if not tokens or tokens[0].key != self.head:
            return None
        used, at, score = {0}, 1, 2.0
        slots: dict[str, tuple[int, int]] = {}
        open_slots: list[str] = []
        began = 1
        for part in self.parts[1:]:
            if part.is_slot:
                open_slots.append(part.key)
                began = at
                continue
            reach = len(tokens) if open_slots else at + (1 if part.may_miss else _GAP + 1)
            place = _find(tokens, part.key, at, reach)
            if place is None:
                led = at == 1 and part.key in _PHRASAL and _is_led(tokens)
                if part.may_miss and not led:
                    continue
                return None
            if not open_slots and any(
                not (_is_small(token) or token.key in self.values) for token in tokens[at:place]
            ):
                return None
            slots |= dict.fromkeys(open_slots, (began, place))
            open_slots = []
            used.add(place)
            at, score = place + 1, score + (0.3 if part.may_miss else 2.0)
        slots |= dict.fromkeys(open_slots, (began, len(tokens)))
        return PhraseMatch(self, frozenset(used), slots, score)


@dataclass(frozen=True)
class PhraseMatch:
    """A phrase found at the start of a clause: its words' places, and where its slots lie."""

    pattern: PhrasePattern
    used: frozenset[int]
    slots: dict[str, tuple[int, int]]
    score: float

    @property
    def skill(self) -> Skill[Any, Any]:
        """Whose phrase it is."""
        return self.pattern.skill

    @property
    def is_whole(self) -> bool:
        """Whether none of its words is missing, prepositions and articles neither."""
        return len(self.used) == sum(not part.is_slot for part in self.pattern.parts)


def _find(tokens: list[Token], key: str, start: int, end: int) -> int | None:
    wanted = _SAME.get(key, stem_of(key))
    return next(
        (
            at
            for at in range(start, min(end, len(tokens)))
            if tokens[at].key == key
            or (tokens[at].is_word and _SAME.get(tokens[at].key, stem_of(tokens[at].key)) == wanted)
        ),
        None,
    )


def _is_led(tokens: list[Token]) -> bool:
    """Whether another preposition stands behind the verb: "looking at" is no "look into"."""
    return len(tokens) > 1 and tokens[1].key in PREPOSITIONS


def _is_small(token: Token) -> bool:
    is_count = token.kind == "number" or token.key in NUMBER_WORDS
    return token.key in SMALL | ARTICLES | _PLAIN or is_count


def phrase_pattern(
    skill: Skill[Any, Any], phrase: str, compounds: frozenset[str], values: frozenset[str] = frozenset()
) -> PhrasePattern:
    """One phrase of a skill; words that the skills write as one are one."""
    parts: list[PhrasePart] = []
    for word in phrase.split():
        if (slot := _SLOT.fullmatch(word)) is not None:
            parts.append(PhrasePart(slot.group(1), is_slot=True))
        else:
            key = key_of_word(word)
            if parts and not parts[-1].is_slot and parts[-1].key + key in compounds:
                parts[-1] = PhrasePart(parts[-1].key + key)
                continue
            small = bool(parts) and (key in PREPOSITIONS or key in ARTICLES)
            parts.append(PhrasePart(key, may_miss=small))
    return PhrasePattern(skill, tuple(parts), values)
