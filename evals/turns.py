"""Chats of several turns: each is an item, asked after the chat's own turns or after the model's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from ..data.sample import ASSISTANT, Sample, text_of
from ..engines import Chat, Engine, GenerationOptions, GenerationResult, Progress
from .answer_cache import shifted

Turns = Literal["last", "reference", "own"]
"""Which turns are asked: the last; each, after the turns as the sample has them; each, after one's own."""

_TURN = "/turn-"


def each_turn(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """An item for each turn of the assistant after a user's message; those of one chat are one group.

    What is right of a turn is what the chat says there; the last one keeps all its right answers.
    """
    return tuple(item for sample in samples for item in _turns_of(sample))


def _turns_of(sample: Sample) -> Iterator[Sample]:
    said = sample.conversation
    places = [i for i, message in enumerate(said) if message["role"] == ASSISTANT]
    asked = [i for i in places if any(message["role"] == "user" for message in said[:i])]
    for number, place in enumerate(asked, 1):
        is_last = place == len(said) - 1
        text = text_of(said[place])
        targets = sample.targets if is_last and sample.targets else (text,) if text else ()
        yield replace(
            sample,
            id=f"{sample.id}{_TURN}{number:03d}",
            messages=said[:place] if targets else said[: place + 1],  # what is no text is a tool call
            targets=targets,
            group=sample.group or sample.id,
            metadata=sample.metadata if is_last else {},
        )


def place_of(item: Sample) -> tuple[str, int]:
    """The chat that an item is a turn of, and which turn, from 1; 0 for an item that is none."""
    chat, _, number = item.id.rpartition(_TURN)
    return (chat, int(number)) if chat else (item.id, 0)


def ask_own_turns(
    engine: Engine,
    items: Sequence[Sample],
    chats: Sequence[Chat],
    options: GenerationOptions,
    progress: Progress | None,
) -> list[GenerationResult]:
    """Ask chats turn by turn; where a chat has earlier turns, the model's own answers stand in their place.

    A turn whose chat has a turn without an answer is not asked, which is its error.
    """
    places = [place_of(item) for item in items]
    results: dict[int, GenerationResult] = {}
    own: dict[str, list[str]] = {}
    for turn in sorted({number for _, number in places}):
        now = [
            n
            for n, (chat, number) in enumerate(places)
            if number == turn and len(own.get(chat, [])) >= turn - 1
        ]
        asked = [_with_own(chats[n], own.get(places[n][0], [])) for n in now]
        told = engine.generate(asked, options, shifted(progress, len(results), len(items)))
        for n, result in zip(now, told, strict=True):
            results[n] = result
            if result.text is not None:
                own.setdefault(places[n][0], []).append(result.text.strip())
    lost = GenerationResult(None, "error", error="not asked: an earlier turn of the chat has no answer")
    return [results.get(n, lost) for n in range(len(items))]


def _with_own(chat: Chat, own: Sequence[str]) -> Chat:
    """A chat with the last of the assistant's turns replaced, in order; those of examples stand before."""
    places = [i for i, message in enumerate(chat) if message["role"] == ASSISTANT]
    answers = dict(zip(places[len(places) - len(own) :], own, strict=True)) if own else {}
    return tuple(
        {"role": ASSISTANT, "content": answers[i]} if i in answers else message
        for i, message in enumerate(chat)
    )
