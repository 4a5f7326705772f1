"""What a target is, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from ..core.errors import AskError

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


def no_chat_template(where: object) -> AskError:
    """The error for a model that does not say how a chat becomes a prompt."""
    return AskError(
        f"{where} has no chat template, so a message cannot be put to it as in training. Save one with its "
        "tokenizer."
    )
