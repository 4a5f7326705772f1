"""The parity check of a build: the same prompts to the checkpoint and to the engine made from it."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.errors import BackendError
from ..base import Chat, Engine, GenerationOptions, GenerationResult, Progress
from .base import ParityCase


class Answered(Engine):
    """Answers that a model gave already, told again to the prompts they were given to."""

    version = "answers given before"

    def __init__(self, results: Sequence[GenerationResult]) -> None:
        self._results = list(results)

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        """The answers, whatever is asked."""
        return self._results

    def close(self) -> None:
        """Nothing is held."""


def compare_engines(
    checkpoint: Engine, engine: Engine, prompts: Sequence[Chat], max_new_tokens: int
) -> list[ParityCase]:
    """Each conversation as both answer it greedily, without the white space around.

    A prompt that both refuse, as one that is too long, is left out. Raises BackendError when either fails,
    when they refuse different prompts, or when nothing is left to compare.
    """
    options = GenerationOptions(max_tokens=max_new_tokens)
    expected, got = (one.generate(prompts, options) for one in (checkpoint, engine))
    cases = []
    for place, (chat, a, b) in enumerate(zip(prompts, expected, got, strict=True)):
        if a.text is None and b.text is None and a.finish_reason == b.finish_reason == "refused":
            continue
        text = next((one["content"] for one in reversed(chat) if one["role"] == "user"), "")
        if a.text is None or b.text is None:
            who, one = ("checkpoint", a) if a.text is None else ("engine", b)
            raise BackendError(f"the {who} gave no answer to {text[:200]!r}: {one.error}")
        cases.append(ParityCase(text, a.text.strip(), b.text.strip(), place))
    if not cases:
        raise BackendError(f"checkpoint and engine refuse all {len(prompts)} prompts: {expected[0].error}")
    return cases
