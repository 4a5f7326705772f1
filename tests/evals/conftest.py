"""A small suite, and a target whose answers a test gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from opswright.data.rows import Row
from opswright.engines import Chat, GenerationOptions, GenerationResult, Progress
from opswright.evals.runner import EvalResult, SampleResult
from opswright.evals.suites import Suite

MeasuredFactory = Callable[..., EvalResult]


class Parrot:
    """An engine that answers from a dictionary; what is not in it is an error, None a refusal."""

    version = "parrot 1"

    def __init__(
        self, answers: Mapping[str, str | None], latency_ms: float = 5.0, finish: str = "stop"
    ) -> None:
        self.answers, self.latency_ms, self.finish = answers, latency_ms, finish
        self.asked: list[str] = []
        self.options: list[GenerationOptions] = []

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        prompts = [chat[-1]["content"] for chat in chats]
        self.asked += prompts
        self.options.append(options)
        if progress is not None:
            progress(len(prompts), len(prompts))
        return [self._result(prompt) for prompt in prompts]

    def close(self) -> None:
        """Nothing to let go."""

    def _result(self, prompt: str) -> GenerationResult:
        if prompt not in self.answers:
            return GenerationResult(None, "error", error="refused")
        text = self.answers[prompt]
        if text is None:
            return GenerationResult.refused("too long")
        return GenerationResult(text, self.finish, latency_ms=self.latency_ms)


@pytest.fixture
def parrot() -> type[Parrot]:
    return Parrot


@pytest.fixture
def suite() -> Suite:
    rows = [
        ("what is my balance", "balance", "banking"),
        ("move 5 dollars", "transfer money", "banking"),
        ("play some jazz", "play music", "home"),
        ("add milk to the list", "shopping list", "home"),
    ]
    return Suite(
        "toy",
        tuple(Row(*row).sample(f"toy-{i}") for i, row in enumerate(rows)),
        {"money": ("banking",)},
        slice_tags=("domain",),
    )


@pytest.fixture
def measured() -> MeasuredFactory:
    """A result from right answers by slice: `measured(old=(90, 100))` is 90 of 100 right."""

    def make(
        model: str = "checkpoint:a",
        digest: str = "d" * 64,
        leaked: int | None = None,
        **slices: tuple[int, int],
    ) -> EvalResult:
        items = [
            SampleResult(
                f"{name}-{i:05d}",
                f"{name} {i}",
                "right",
                "right" if i < right else "wrong",
                {"exact_match": float(i < right), "known_label": 1.0},
                (name,),
            )
            for name, (right, n) in slices.items()
            for i in range(n)
        ]
        return EvalResult(model, "clinc150", digest, tuple(slices), tuple(items), leaked)

    return make
