"""Choices by likelihood: which length counts, what cannot be scored, and an engine that only generates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import AskError, BackendError
from opswright.engines import Chat, Continuation, Progress
from opswright.evals.runner import EvalResult, run_suite
from opswright.evals.suites import Suite, load_suite

TINY = Path(__file__).parent / "tiny"


class Likelihoods:
    """An engine that knows how likely each text is; what it does not know it cannot score."""

    version = "likelihoods 1"

    def __init__(self, logprobs: dict[str, float]) -> None:
        self.logprobs = logprobs
        self.prefixes: list[str | None] = []

    def generate(self, chats: Any, options: Any, progress: Any = None) -> Any:
        raise AssertionError("nothing is generated")

    def loglikelihood(
        self,
        chats: Sequence[Chat],
        continuations: Sequence[Sequence[str]],
        prefix: str | None = None,
        progress: Progress | None = None,
    ) -> list[list[Continuation]]:
        self.prefixes.append(prefix)
        return [[self._one(text) for text in some] for some in continuations]

    def close(self) -> None:
        """Nothing to let go."""

    def _one(self, text: str) -> Continuation:
        if text not in self.logprobs:
            return Continuation.failed("a token spans the end of the prompt")
        return Continuation(self.logprobs[text], len(text.split()), latency_ms=1.0)


def run(suite: Suite, engine: Any) -> EvalResult:
    return run_suite(suite, engine, "m", slices=suite.slices())


LOGPROBS = {"iron": -4.0, "water": -4.5, "gold": -9.0, "air": -1.0, "tin": -2.0}


def test_the_likeliest_choice_per_unit_of_length_is_the_answer() -> None:
    suite = load_suite(TINY / "choose.yaml")
    measured = run(suite, Likelihoods(LOGPROBS))
    assert [item.got for item in measured.items] == ["water", "air"]  # -4.5 / 5 is more than -4 / 4
    assert [item.scores["choice"] for item in measured.items] == [1, 0]
    whole = run(replace(suite, choose_by="none"), Likelihoods(LOGPROBS))
    assert [item.got for item in whole.items] == ["iron", "air"]
    assert replace(suite, choose_by="none").digest != suite.digest


def test_bytes_are_not_characters() -> None:
    suite = Suite(
        "s",
        (replace(load_suite(TINY / "choose.yaml").items[1], choices=("éé", "eee"), targets=("eee",)),),
        task="choose",
    )
    assert run(suite, Likelihoods({"éé": -3.0, "eee": -3.3})).items[0].got == "eee"
    by_bytes = run(replace(suite, choose_by="bytes"), Likelihoods({"éé": -3.0, "eee": -3.3}))
    assert by_bytes.items[0].got == "éé"


def test_an_item_with_a_choice_that_cannot_be_scored_is_refused_and_counts_as_wrong() -> None:
    some = {name: value for name, value in LOGPROBS.items() if name != "gold"}
    measured = run(load_suite(TINY / "choose.yaml"), Likelihoods(some))
    assert measured.refused == 1 and measured.items[0].scores["choice"] == 0
    with pytest.raises(BackendError, match=r"answered none of 2 prompts.*spans the end"):
        run(load_suite(TINY / "choose.yaml"), Likelihoods({}))


def test_the_suite_owns_what_stands_before_an_answer() -> None:
    suite = load_suite(TINY / "choose.yaml")
    engine = Likelihoods(LOGPROBS)
    run(suite, engine)
    run(replace(suite, prompt=replace(suite.prompt, answer_prefix=" ")), engine)
    assert engine.prefixes == [None, " "]


def test_an_engine_that_only_generates_is_told_what_to_do(parrot: Any) -> None:
    suite = load_suite(TINY / "choose.yaml")
    with pytest.raises(AskError, match="`choose_by: generation`"):
        run(suite, parrot({}))
    said = dict(
        zip((suite.prompt.chat(item)[-1]["content"] for item in suite.items), ("B", "tin"), strict=True)
    )
    measured = run(replace(suite, choose_by="generation"), parrot(said))
    assert [item.scores["choice"] for item in measured.items] == [1, 1]
