"""A small suite, and a target whose answers a test gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from opswright.engines import Answer, Progress
from opswright.evals.runner import EvalResult, SampleResult
from opswright.evals.suites import Sample, Suite

MeasuredFactory = Callable[..., EvalResult]


class Parrot:
    """A target that answers from a dictionary; what is not in it gets no answer and an error."""

    def __init__(self, answers: Mapping[str, str | None], latency_ms: float = 5.0) -> None:
        self.answers, self.latency_ms = answers, latency_ms
        self.asked: list[str] = []

    def answer(self, prompts: Sequence[str], progress: Progress) -> list[Answer]:
        self.asked += prompts
        progress(len(prompts), len(prompts))
        return [
            Answer(self.answers[p], self.latency_ms) if p in self.answers else Answer(None, 0.0, "refused")
            for p in prompts
        ]


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
        "toy", tuple(Sample(f"toy-{i}", *row) for i, row in enumerate(rows)), {"money": ("banking",)}
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
                "text",
                "right",
                "right" if i < right else "wrong",
                i < right,
                True,
                (name,),
            )
            for name, (right, n) in slices.items()
            for i in range(n)
        ]
        return EvalResult(model, "clinc150", digest, tuple(slices), tuple(items), leaked)

    return make
