"""Samples altered in ways that leave the right answer right: what a model should not mind."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Literal, get_args

from .sample import Message, Sample, Task

Alteration = Literal["case", "typos", "prefix", "order"]
ALTERATIONS: tuple[Alteration, ...] = get_args(Alteration)

SAYS: Mapping[str, str] = {
    "case": "in capitals",
    "typos": "with two letters swapped in one word of eight",
    "prefix": "after a sentence that has nothing to do with it",
    "order": "with its choices or passages in another order",
}
_LABELLED: frozenset[Task] = frozenset(("classify", "choose"))  # elsewhere an answer may repeat what was said
_PREFIXES = (
    "I hope this finds you well.",
    "It has been raining here since this morning.",
    "Sorry, I am writing this on my phone.",
    "My colleague told me to ask here.",
)
_WORD = re.compile(r"[^\W\d_]{4,}")
_WORDS_A_TYPO = 8


def altered(sample: Sample, alteration: Alteration, task: Task) -> Sample | None:
    """The sample with its last user message altered, or its choices and passages, the same on every run.

    None where that changes nothing, or might change the right answer: case and words that the answer repeats
    are left alone unless it is a label or a choice.
    """
    if alteration == "order":
        return _rotated(sample)
    place = next((at for at in reversed(range(len(sample.prompt))) if _is_asked(sample.prompt[at])), None)
    if place is None or (alteration == "case" and task not in _LABELLED):
        return None
    said = str(sample.prompt[place]["content"])
    kept = frozenset() if task in _LABELLED else frozenset(_words(sample))
    seed = hashlib.sha256(f"{alteration} {sample.id}".encode()).digest()
    text = _MAKERS[alteration](said, random.Random(seed), kept)
    if text == said:
        return None
    messages = list(sample.messages)
    messages[place] = {**messages[place], "content": text}
    return replace(sample, messages=tuple(messages))


def _rotated(sample: Sample) -> Sample | None:
    """The sample with each choice and each passage one place further, so that none stands where it stood."""
    moved = replace(
        sample,
        choices=(*sample.choices[-1:], *sample.choices[:-1]),
        contexts=(*sample.contexts[-1:], *sample.contexts[:-1]),
    )
    return None if moved == sample else moved


def _is_asked(message: Message) -> bool:
    return message["role"] == "user" and isinstance(message.get("content"), str)


def _words(sample: Sample) -> Iterable[str]:
    answers = [*sample.targets, *([sample.answer] if sample.answer else [])]
    return (word.casefold() for answer in answers for word in _WORD.findall(answer))


def _case(text: str, rng: random.Random, kept: Collection[str]) -> str:
    return text.upper()


def _typos(text: str, rng: random.Random, kept: Collection[str]) -> str:
    words = [found for found in _WORD.finditer(text) if found[0].casefold() not in kept]
    chosen = rng.sample(words, min(len(words), -(-len(words) // _WORDS_A_TYPO)))
    for found in sorted(chosen, key=lambda one: -one.start()):
        at = rng.randrange(found.start(), found.end() - 1)
        text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text


def _prefix(text: str, rng: random.Random, kept: Collection[str]) -> str:
    return f"{rng.choice(_PREFIXES)} {text}"


_MAKERS: Mapping[str, Callable[[str, random.Random, Collection[str]], str]] = {
    "case": _case,
    "typos": _typos,
    "prefix": _prefix,
}
