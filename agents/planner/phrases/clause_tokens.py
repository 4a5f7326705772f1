"""The tokens of one clause while a step is filled from them: which are accounted for, and where slots lie."""

from __future__ import annotations

from .drafts import StepDraft
from .fields import FieldWords
from .mentions import Mention
from .text import Token
from .words import ARTICLES, PREPOSITIONS


class ClauseTokens:
    """The tokens of one clause, which of them are accounted for, and where a phrase's slots lie."""

    def __init__(self, tokens: list[Token], taken: set[int], slots: dict[str, tuple[int, int]]) -> None:
        self.tokens = tokens
        self.taken = taken
        self.literal = frozenset(taken)  # the phrase's own words
        self.slots = slots
        self.passed_over: set[int] = set()  # of artifacts that are pointed at and that no field takes

    def slots_at(self, at: int) -> set[str]:
        """The slots that a token lies in: of two with nothing between them, both."""
        return {name for name, (start, end) in self.slots.items() if start <= at < end}

    def best(self, fields: list[FieldWords], at: int, step: StepDraft) -> FieldWords | None:
        """Of fields that could take a token, the one it is meant for: by name, by slot, by need."""
        free = [one for one in fields if one.name not in step.arguments]
        if not free:
            return None
        named = [one for one in free if self.is_named(one, at)]
        slotted = [one for one in free if one.name in self.slots_at(at)]
        needed = [one for one in free if one.is_required]
        return (named or slotted or needed or free)[0]

    def find(self, words: tuple[str, ...], *, literal: bool = False) -> int | None:
        """Where these words stand: accounted for by nothing yet, or by the phrase itself (literal)."""
        size = len(words)
        for at in range(len(self.tokens) - size + 1):
            span = range(at, at + size)
            free = set(span) <= self.literal if literal else not self.taken & set(span)
            if free and _are(tuple(self.tokens[place].key for place in span), words):
                return at
        return None

    def find_set(self, one: FieldWords, words: tuple[str, ...]) -> int | None:
        """Where these words stand right behind the field's name and a "=": "learn=last"."""
        keys = [token.key for token in self.tokens]
        for at in range(2, len(keys) - len(words) + 1):
            said = keys[at - 1] == "=" and tuple(keys[at : at + len(words)]) == words
            if said and not self.taken & set(range(at, at + len(words))) and self.is_named(one, at):
                return at
        return None

    def is_named(self, one: FieldWords, at: int) -> bool:
        """Whether a name of the field stands just before a token, with small words between at most."""
        before = [token.key for token in self.tokens[max(0, at - 6) : at]]
        while before:
            if any(tuple(before[-len(name) :]) == name for name in one.names):
                return True
            if before[-1] not in ARTICLES | PREPOSITIONS and before[-1] not in ("is", "=", ":"):
                return False
            before.pop()
        return False

    def inside_name(self, at: int, fields: list[FieldWords], but: FieldWords) -> bool:
        """Whether a token is a word of a longer name of another field: "lora" in "lora targets"."""
        for name in (name for one in fields if one is not but for name in one.names if len(name) > 1):
            for start in range(max(0, at - len(name) + 1), at + 1):
                if tuple(token.key for token in self.tokens[start : start + len(name)]) == name:
                    return True
        return False

    def called_behind(self, fields: list[FieldWords], at: int) -> tuple[FieldWords | None, set[int]]:
        """The field whose name stands behind a value that ends here, and where: "... as the teacher"."""
        start = at
        if start < len(self.tokens) and self.tokens[start].key in ("as", "for", "is"):
            start += 1
            start += start < len(self.tokens) and self.tokens[start].key in ARTICLES
        for one in fields:
            for name in one.names:
                span = range(start, start + len(name))
                if start > at and tuple(token.key for token in self.tokens[start : span.stop]) == name:
                    return one, set(span)
        return None, set()

    def name_beside(self, one: FieldWords, at: int) -> set[int]:
        """The places of the field's name before a token."""
        for name in one.names:
            for start in range(max(0, at - len(name) - 2), at):
                if tuple(token.key for token in self.tokens[start : start + len(name)]) == name:
                    return set(range(start, start + len(name)))
        return set()

    def take(self, mention: Mention) -> None:
        """Account for a mention's tokens."""
        self.taken |= set(range(mention.start, mention.end))


def _are(keys: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Whether these are the words, also as they stand behind "would you mind": "masking" for "mask"."""
    if keys == words:
        return True
    stem = words[0].removesuffix("e") if len(words[0]) > 3 else ""
    if bool(stem) and keys[1:] == words[1:] and keys[0] == stem + "ing":
        return True
    last = words[-1]
    done = {last.removesuffix("e") + "ed", last + last[-1] + "ed"} if len(last) > 3 else set[str]()
    return keys[:-1] == words[:-1] and keys[-1] in done  # "own answers dropped"
