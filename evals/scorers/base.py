"""What a scorer is: a function from a sample and an answer to a number, with what its number means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ...data.sample import ASSISTANT, Sample, Task

ScoreFunction = Callable[[Sample, str], float | bool | None]
"""What a scorer computes: 0 to 1, or None for an answer that it cannot score."""

Need = Literal["target", "choices", "contexts", "tools"]


class Score(NamedTuple):
    """One answer's score, 0 to 1. None: not scored; `fault` then says what went wrong, if anything did."""

    value: float | None
    fault: str | None = None


@dataclass(frozen=True)
class Scorer:
    """A named function from (sample, answer) to 0..1.

    is_binary: it gives 0 and 1 alone, so that its mean is a share; this decides interval and paired test.
    needs: what a sample must have to be scored at all. digest: of the code, for a scorer of the project.
    """

    name: str
    function: ScoreFunction
    is_binary: bool
    summary: str = ""
    needs: Need | None = None
    digest: str = ""

    def score(self, sample: Sample, answer: str | None) -> Score:
        """The score of an answer; no answer at all is 0, as a wrong one is.

        Whatever the function does wrong is a fault of this one answer: it raises, or gives NaN, no number, a
        number outside 0..1, or one between 0 and 1 where it is declared binary. None is no fault.
        """
        if not has(sample, self.needs):
            return Score(None)
        if answer is None:
            return Score(0.0)
        try:
            value = self.function(sample, answer)
        except (Exception, SystemExit) as error:  # a scorer is anybody's code
            return Score(None, f"{type(error).__name__}: {error}"[:200])
        if value is None:
            return Score(None)
        return self._checked(value)

    def _checked(self, value: object) -> Score:
        try:
            number = float(value)  # type: ignore[arg-type]  # what it cannot take is the fault
        except (TypeError, ValueError):
            return Score(None, f"gave {type(value).__name__}, expected a number from 0 to 1")
        if isinstance(value, str | bytes):
            return Score(None, f"gave {value!r}, expected a number from 0 to 1"[:200])
        if not 0 <= number <= 1:  # nor is NaN
            return Score(None, f"gave {number:g}, expected a number from 0 to 1")
        if self.is_binary and number not in (0, 1):
            return Score(None, f"gave {number:g}, but is declared binary (0 or 1)")
        return Score(number)


def scorer(
    *, binary: bool, name: str | None = None, summary: str = "", needs: Need | None = None
) -> Callable[[ScoreFunction], Scorer]:
    """Declare a scorer: a decorator for a function of (sample, answer).

    binary: whether it gives 0 and 1 alone. name: as suites and reports have it; empty: the function's own.
    """

    def declare(function: ScoreFunction) -> Scorer:
        said = summary or (function.__doc__ or "").strip().split("\n")[0]
        return Scorer(name or str(getattr(function, "__name__", "scorer")), function, binary, said, needs)

    return declare


@dataclass(frozen=True)
class ScoringContext:
    """What a suite tells its scorers when they are made: its task, and its right answers, each once."""

    task: Task = "classify"
    answers: tuple[str, ...] = ()


def has(sample: Sample, need: Need | None) -> bool:
    """Whether a sample has what a scorer needs."""
    if need is None:
        return True
    if need == "target":
        return bool(right_answers(sample)) or bool(last_tool_calls(sample))
    return bool(getattr(sample, need))


def right_answers(sample: Sample) -> tuple[str, ...]:
    """Every right answer of a sample; empty when none is known."""
    return sample.targets or ((sample.answer,) if sample.answer is not None else ())


def last_tool_calls(sample: Sample) -> tuple[object, ...]:
    """The tool calls that the sample's last message makes, when that is the assistant's."""
    last = sample.messages[-1] if sample.messages else {}
    calls = last.get("tool_calls") if last.get("role") == ASSISTANT else None
    return tuple(calls) if isinstance(calls, list | tuple) else ()
