"""The parity check of a build, with engines that answer from tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from opswright.core.errors import BackendError
from opswright.engines import Chat, Engine, GenerationOptions, GenerationResult, Progress, user_chat
from opswright.engines.builders import compare_engines


class Table:
    """Answers from a table; what is not in it is refused, None is a failure."""

    version = "table"

    def __init__(self, answers: Mapping[str, str | None]) -> None:
        self.answers = answers
        self.asked: list[GenerationOptions] = []

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        self.asked.append(options)
        return [self.answer(chat[-1]["content"]) for chat in chats]

    def answer(self, text: str) -> GenerationResult:
        if text not in self.answers:
            return GenerationResult.refused("too long")
        said = self.answers[text]
        return GenerationResult(None, "error", error="broke") if said is None else GenerationResult(said)

    def close(self) -> None:
        """Nothing to let go."""


def chats(*texts: str) -> list[Chat]:
    return [user_chat(text) for text in texts]


def test_both_are_asked_greedily_and_compared_without_the_white_space_around() -> None:
    one, other = Table({"a": " x", "b": "y"}), Table({"a": "x\n", "b": "z"})
    engines: tuple[Engine, Engine] = (one, other)
    cases = compare_engines(*engines, chats("a", "b"), 7)
    assert [case.agrees for case in cases] == [True, False]
    assert one.asked == other.asked == [GenerationOptions(max_tokens=7)]


def test_a_prompt_that_both_refuse_is_left_out_and_one_refusal_alone_fails_the_build() -> None:
    found = compare_engines(Table({"b": "x"}), Table({"b": "x"}), chats("a", "b"), 7)
    assert [(case.text, case.place) for case in found] == [("b", 1)]
    with pytest.raises(BackendError, match="the engine gave no answer to 'a': too long"):
        compare_engines(Table({"a": "x"}), Table({}), chats("a"), 7)
    with pytest.raises(BackendError, match="the checkpoint gave no answer to 'a': broke"):
        compare_engines(Table({"a": None}), Table({"a": "x"}), chats("a"), 7)
    with pytest.raises(BackendError, match="the checkpoint gave no answer to 'a': broke"):
        compare_engines(Table({"a": None}), Table({"a": None}), chats("a", "b"), 7)
    with pytest.raises(BackendError, match="refuse all 2 prompts: too long"):
        compare_engines(Table({}), Table({}), chats("a", "b"), 7)
