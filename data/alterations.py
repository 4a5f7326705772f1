"""Samples altered in ways that leave the right answer right: what a model should not mind."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Literal, get_args

from .paraphrase import paraphrase_fault
from .sample import Message, Sample, Task

Alteration = Literal["case", "typos", "prefix", "order", "paraphrase"]
PARAPHRASE: Alteration = "paraphrase"
ALTERATIONS: tuple[Alteration, ...] = get_args(Alteration)

SAYS: Mapping[str, str] = {
    "case": "in capitals",
    "typos": "with two letters swapped in one word of eight",
    "prefix": "after a sentence that has nothing to do with it",
    "order": "with its choices or passages in another order",
    "paraphrase": "in other words",
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
    if alteration == "paraphrase":
        own = own_paraphrase(sample)
        return None if own is None or reworded_fault(sample, own, task) is not None else reworded(sample, own)
    said = last_asked(sample)
    if said is None or (alteration == "case" and task not in _LABELLED):
        return None
    kept = frozenset() if task in _LABELLED else frozenset(_words(sample))
    seed = hashlib.sha256(f"{alteration} {sample.id}".encode()).digest()
    text = _MAKERS[alteration](said, random.Random(seed), kept)
    return None if text == said else reworded(sample, text)


def last_asked(sample: Sample) -> str | None:
    """The last user message, which an alteration changes; None without one of text."""
    place = _place(sample)
    return None if place is None else str(sample.prompt[place]["content"])


def own_paraphrase(sample: Sample) -> str | None:
    """The other wording that the sample brings itself, as its metadata's `paraphrase`."""
    own = sample.metadata.get(PARAPHRASE)
    return own if isinstance(own, str) else None


def reworded(sample: Sample, text: str) -> Sample:
    """The sample with another text as its last user message."""
    place = _place(sample)
    if place is None:
        return sample
    messages = list(sample.messages)
    messages[place] = {**messages[place], "content": text}
    return replace(sample, messages=tuple(messages))


def reworded_fault(sample: Sample, text: str, task: Task) -> str | None:
    """Why a text is not taken as another wording of the last user message; see paraphrase_fault."""
    return paraphrase_fault(last_asked(sample) or "", text, () if task in _LABELLED else _answers(sample))


def _place(sample: Sample) -> int | None:
    return next((at for at in reversed(range(len(sample.prompt))) if _is_asked(sample.prompt[at])), None)


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
    return (word.casefold() for answer in _answers(sample) for word in _WORD.findall(answer))


def _answers(sample: Sample) -> list[str]:
    return [*sample.targets, *([sample.answer] if sample.answer else [])]


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
