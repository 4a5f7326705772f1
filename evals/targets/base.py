"""What a target is, and how prompts are put into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from ...core.errors import AskError

MAX_NEW_TOKENS = 24  # the longest label of the shipped suites takes 16 tokens of a 2,048-token vocabulary

Progress = Callable[[int, int], None]
"""Called with (answered, of)."""


class Answer(NamedTuple):
    """What a target said to one prompt.

    `text` is None when it said nothing: with `error` the target failed, without it the prompt does not fit
    into the model's context. `latency_ms` is what the asker waited, so a batch's whole time for each of it.
    """

    text: str | None
    latency_ms: float
    error: str | None = None


class Target(Protocol):
    """Something that answers prompts by greedy decoding."""

    def answer(self, prompts: Sequence[str], progress: Progress) -> Sequence[Answer]:
        """One answer for each prompt, in their order."""


def batches(token_ids: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Indices in batches of at most `most`, prompts of equal length together, so that nothing is padded."""
    by_length: dict[int, list[int]] = {}
    for index, tokens in enumerate(token_ids):
        by_length.setdefault(len(tokens), []).append(index)
    for length in sorted(by_length):
        same = by_length[length]
        for start in range(0, len(same), most):
            yield same[start : start + most]


def no_chat_template(where: object) -> AskError:
    """The error for a model that does not say how a chat becomes a prompt."""
    return AskError(
        f"{where} has no chat template, so a message cannot be put to it as in training. Save one with its "
        "tokenizer."
    )
