"""A judge that grades one answer by a rubric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, Strict

from ...core.errors import AskError
from ...data.sample import Sample
from ..scorers.base import Score, ScoringContext, ServerAccess, right_answers
from .base import Judge, needed_judge
from .client import Unreadable, kept_reason
from .prompt import JudgePrompt, load_prompt, parts_of
from .settings import JudgeSettings

BesideSuite = Annotated[Path, Strict()]
"""A file that a suite names as `{file: ...}`; its content is part of the suite's digest."""


def rubric_judge(
    context: ScoringContext,
    rubric: Annotated[str, Field(min_length=1)],
    lowest: int = 1,
    highest: int = 5,
    reference: bool = True,
    prompt: BesideSuite | None = None,
) -> Judge:
    """What a judge gives by a rubric, from `lowest` to `highest`, as 0 to 1."""
    if not 1 <= highest - lowest <= 100:
        raise AskError(f"scorer rubric_judge: a scale from {lowest} to {highest} has 2 to 101 steps.")
    values = {"rubric": rubric.strip(), "lowest": lowest, "highest": highest}
    made = load_prompt("rubric-1", prompt, values)
    settings = needed_judge(context, "rubric_judge")
    return _RubricJudge(settings, made, range(lowest, highest + 1), context.access, reference)


class _Grade(NamedTuple):
    score: int
    reason: str


class _RubricJudge(Judge):
    def __init__(
        self,
        settings: JudgeSettings,
        prompt: JudgePrompt,
        steps: range,
        access: ServerAccess,
        reference: bool,
    ) -> None:
        super().__init__(settings, prompt, steps, access)
        self._steps, self._reference = steps, reference

    def score_all(self, pairs: Sequence[tuple[Sample, str]]) -> list[Score]:
        chats = []
        for sample, answer in pairs:
            right = right_answers(sample) if self._reference else ()
            chats.append(self.prompt.chat({**parts_of(sample, right), "answer": answer}))
        scores = []
        for said in self.ask(chats, self._read):
            if said.verdict is None:
                scores.append(Score(None, said.failure, {"tokens": said.tokens}))
                continue
            grade = said.verdict
            detail = {"score": grade.score, "reason": grade.reason, "tokens": said.tokens}
            scores.append(Score(self.share(grade.score), detail=detail))
        return scores

    def _read(self, reply: Mapping[str, Any]) -> _Grade:
        check_keys(reply, "score")
        score = reply["score"]
        if isinstance(score, bool) or not isinstance(score, int) or score not in self._steps:
            first, last = self._steps[0], self._steps[-1]
            raise Unreadable(f"off the scale: score {str(score)[:40]}, expected {first} to {last}")
        return _Grade(score, kept_reason(reply["reason"]))


def check_keys(reply: Mapping[str, Any], verdict: str) -> None:
    """Unreadable unless a reply has a reason and a verdict, and nothing else."""
    if set(reply) != {"reason", verdict} or not isinstance(reply["reason"], str):
        found = ", ".join(sorted(reply))[:80]
        raise Unreadable(f"other fields: expected a text `reason` and `{verdict}`, found {found or 'none'}")
