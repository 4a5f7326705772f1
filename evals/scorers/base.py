"""What a scorer is: a function from a sample and an answer to a number, with what its number means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from ...core.secrets import SecretName
from ...core.token_spending import CountTokens
from ...data.sample import ASSISTANT, Sample, Task

if TYPE_CHECKING:
    from ...engines import GenerationResult, Progress
    from ..embedder_settings import EmbedderSettings
    from ..judges.allowance import TokenAllowance
    from ..judges.settings import JudgeSettings

ScoreFunction = Callable[[Sample, str], float | bool | None]
"""What a scorer computes: 0 to 1, or None for an answer that it cannot score."""

Need = Literal["target", "choices", "contexts", "tools"]


class Score(NamedTuple):
    """One answer's score, 0 to 1. None: not scored; `fault` then says what went wrong, if anything did.

    detail: what else a report keeps of it, as JSON: a judge's reason.
    """

    value: float | None
    fault: str | None = None
    detail: Mapping[str, Any] | None = None


@runtime_checkable
class BatchFunction(Protocol):
    """What computes the scores of many answers at once, as a scorer that asks a server does."""

    def score_all(self, pairs: Sequence[tuple[Sample, str]]) -> Sequence[Score]:
        """A score of each answer, in their order; what goes wrong with one is its fault."""


@runtime_checkable
class ResultFunction(Protocol):
    """What scores whole results, not their texts alone: white space kept, and what a choice was made by."""

    def score_results(self, pairs: Sequence[tuple[Sample, GenerationResult]]) -> Sequence[Score]:
        """A score of each result, in their order; what goes wrong with one is its fault."""


@dataclass(frozen=True)
class Scorer:
    """A named function from (sample, answer) to 0..1.

    is_binary: it gives 0 and 1 alone, so that its mean is a share; this decides interval and paired test.
    needs: what a sample must have to be scored at all. digest: of the code, for a scorer of the project.
    take: finds the part of an answer that is scored; where it finds none the score is 0.
    """

    name: str
    function: ScoreFunction | BatchFunction | ResultFunction
    is_binary: bool
    summary: str = ""
    needs: Need | None = None
    digest: str = ""
    take: Callable[[str], str | None] | None = None

    def score(self, sample: Sample, answer: str | None) -> Score:
        """The score of one answer; see `score_all`."""
        return self.score_all([(sample, answer)])[0]

    def score_results(self, pairs: Sequence[tuple[Sample, GenerationResult]]) -> list[Score]:
        """The score of each result, by its text without white space around it unless whole results count."""
        if isinstance(self.function, ResultFunction):
            return [self._kept(one) for one in self.function.score_results(pairs)]
        texts = ((item, None if result.text is None else result.text.strip()) for item, result in pairs)
        return self.score_all(list(texts))

    def score_all(self, pairs: Sequence[tuple[Sample, str | None]]) -> list[Score]:
        """The score of each answer; no answer at all is 0, as a wrong one is.

        Whatever the function does wrong is a fault of this one answer: it raises, or gives NaN, no number, a
        number outside 0..1, or one between 0 and 1 where it is declared binary. None is no fault.
        """
        scores: dict[int, Score] = {}
        open_pairs: dict[int, tuple[Sample, str]] = {}
        for number, (sample, answer) in enumerate(pairs):
            known = self._known(sample, answer)
            if isinstance(known, Score):
                scores[number] = known
            else:
                open_pairs[number] = (sample, known)
        scores |= zip(open_pairs, self._asked(list(open_pairs.values())), strict=True)
        return [scores[number] for number in range(len(pairs))]

    def _known(self, sample: Sample, answer: str | None) -> Score | str:
        """The score of an answer that the function need not see, else what it must."""
        if not has(sample, self.needs):
            return Score(None)
        if answer is None:
            return Score(0.0)
        if self.take is None:
            return answer
        try:
            taken = self.take(answer)
        except Exception as error:  # a pattern that takes too long
            return _fault(error)
        return Score(0.0) if taken is None else taken

    def _asked(self, pairs: Sequence[tuple[Sample, str]]) -> list[Score]:
        if isinstance(self.function, ResultFunction):
            from ...engines import GenerationResult

            return self.score_results([(sample, GenerationResult(answer)) for sample, answer in pairs])
        if isinstance(self.function, BatchFunction):
            return [self._kept(one) for one in self.function.score_all(pairs)] if pairs else []
        return [self._one(self.function, sample, answer) for sample, answer in pairs]

    def _one(self, function: ScoreFunction, sample: Sample, answer: str) -> Score:
        try:
            value = function(sample, answer)
        except (Exception, SystemExit) as error:  # a scorer is anybody's code
            return _fault(error)
        return Score(None) if value is None else self._checked(value)

    def _kept(self, given: Score) -> Score:
        return given if given.value is None else self._checked(given.value, given.detail)

    def _checked(self, value: object, detail: Mapping[str, Any] | None = None) -> Score:
        try:
            number = float(value)  # type: ignore[arg-type]  # what it cannot take is the fault
        except (TypeError, ValueError, OverflowError):
            return Score(None, f"gave {type(value).__name__}, expected a number from 0 to 1")
        if isinstance(value, str | bytes):
            return Score(None, f"gave {value!r}, expected a number from 0 to 1"[:200])
        if not 0 <= number <= 1:  # nor is NaN
            return Score(None, f"gave {number:g}, expected a number from 0 to 1")
        if self.is_binary and number not in (0, 1):
            return Score(None, f"gave {number:g}, but is declared binary (0 or 1)")
        return Score(number, detail=detail)


def _fault(error: BaseException) -> Score:
    return Score(None, f"{type(error).__name__}: {error}"[:200])


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
class ServerAccess:
    """What a scorer that asks a server is given: where replies are kept, what tells it a secret, who listens.

    cache: file of earlier replies; None: nothing is kept. counter: gives what counts the tokens of a model at
    an address.
    """

    cache: Path | None = None
    secret: Callable[[SecretName], str] = SecretName.resolve
    progress: Progress | None = None
    counter: Callable[[str, str | None], CountTokens] | None = None
    _allowances: dict[tuple[str, str], TokenAllowance] = field(default_factory=dict)

    def allowance(self, url: str, model: str, most: int | None) -> TokenAllowance | None:
        """What all that ask this model here may take together; None where that has no limit."""
        from ..judges.allowance import TokenAllowance

        return None if most is None else self._allowances.setdefault((url, model), TokenAllowance(most))


@dataclass(frozen=True)
class ScoringContext:
    """What a suite tells its scorers when they are made: task, right answers (each once), judge, embedder.

    samples: all of the suite's, for what is fitted on them.
    """

    task: Task = "classify"
    answers: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    judge: JudgeSettings | None = None
    access: ServerAccess = field(default_factory=ServerAccess)
    embedder: EmbedderSettings | None = None


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
