"""Whether a text speaks of what a question asks: each name in it, and most of its other words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[^\W_](?:[\w.-]*[^\W_])?")
_STEM = 5  # letters by which forms of a word are one
_ALIKE = 0.8  # of difflib's ratio: a slip of the finger
_MOST_MISSING = 0.5  # of the words that are no names
_KINDS = frozenset(
    {
        "endpoint", "suite", "release", "run", "dataset", "checkpoint", "bundle", "record", "plan", "model",
        "domain", "slice",
    }
)  # fmt: skip
_LITTLE_WORDS = """
a about after all am an and any anything are as asked at be been before between both but by can could
did do does doing done each for from get gets give given go got had has have he her him his how i if in
into is it its just like list made make many may me more most much my no nor not now of off on one only
or our out over own per please said say says see she should show so some somebody something tell than
that the their them then there these they thing things this those to too under until up us use used user
very was we were what when where which while who whole whom whose why will with would you your
"""
_LITTLE = frozenset(_LITTLE_WORDS.split())


@dataclass(frozen=True)
class Missing:
    """What of a question a text does not have. share: of its words that are no names, 0 to 1."""

    names: tuple[str, ...]
    words: tuple[str, ...]
    share: float

    @property
    def is_much(self) -> bool:
        """Whether the text cannot be what was asked for: it lacks a name, or half of the other words."""
        return bool(self.names) or self.share > _MOST_MISSING


def missing(question: str, texts: Sequence[str], known: Iterable[str] = ()) -> Missing:
    """The words of a question that stand in none of some texts, nor among the words that are `known`.

    A name is a word with a digit or a capital within a sentence, and what follows "endpoint", "suite" or the
    like: it counts as it is. Other words may stand there in another form, or differ by a slip of the finger.
    """
    found = {part for text in texts for word in _WORD.findall(text.casefold()) for part in _parts(word)}
    found |= {word.casefold() for word in known}
    stems = {word[:_STEM] for word in found if len(word) >= _STEM}
    names, others, lost = [], 0, []
    for word, is_name in _asked(question):
        key = word.casefold()
        if is_name:
            if key not in found and key.rstrip("s") not in found:
                names.append(word)
            continue
        others += 1
        near = key in found or key[:_STEM] in stems if len(key) >= _STEM else key in found
        if not near and not (len(key) > 3 and difflib.get_close_matches(key, found, 1, _ALIKE)):
            lost.append(word)
    return Missing(tuple(names), tuple(lost), len(lost) / others if others else 0.0)


def _asked(question: str) -> list[tuple[str, bool]]:
    """The words of a question that say what it is about, and whether each is a name."""
    found = []
    before = ""
    for place, word in enumerate(_WORD.findall(question.replace("'s ", " "))):
        key = word.casefold()
        if key not in _LITTLE and (len(key) > 2 or any(one.isdigit() for one in key)):
            capital = place > 0 and any(one.isupper() for one in word) and not question.isupper()
            named = (
                before in _KINDS and key not in _KINDS and key.isalpha() and not key.endswith(("ed", "ing"))
            )
            found.append((word, capital or named or any(one.isdigit() for one in key)))
        before = key
    return found


def _parts(word: str) -> list[str]:
    return [word, *re.split(r"[_.-]", word)]
