"""What a judge is: it scores answers by asking a model, and says how well it agrees with people."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from sys import float_info
from typing import Any, TypeVar

from ...core.errors import AskError
from ...data.sample import Sample
from ...engines import Chat
from ..scorers.base import Score, ScoringContext, ServerAccess
from .client import JudgeClient, JudgeConnection, Judgement
from .prompt import JudgePrompt
from .settings import JudgeSettings

T = TypeVar("T")


class Judge(ABC):
    """Scores answers by asking a model with one prompt.

    scale: what people and judge may give, from worst to best.
    """

    def __init__(
        self, settings: JudgeSettings, prompt: JudgePrompt, scale: Sequence[float], access: ServerAccess
    ) -> None:
        self.settings, self.prompt, self.scale, self.access = settings, prompt, tuple(scale), access

    @abstractmethod
    def score_all(self, pairs: Sequence[tuple[Sample, str]]) -> list[Score]:
        """A score of each answer; the detail has the judge's `reason`, and its `tokens`."""

    def ask(self, chats: Sequence[Chat], read: Callable[[Mapping[str, Any]], T]) -> list[Judgement[T]]:
        """What the model says to each chat; see JudgeClient."""
        with closing(JudgeConnection(self.settings, self.access)) as connection:
            return JudgeClient(connection, read, self.prompt.digest).ask(chats, self.access.progress)

    def share(self, given: float) -> float:
        """A score on the scale as one from 0 to 1."""
        lowest, highest = self.scale[0], self.scale[-1]
        return (given - lowest) / (highest - lowest)


@dataclass(frozen=True)
class Gold:
    """What people gave to one answer, on the judge's own scale."""

    answer: str
    score: float


def gold_of(sample: Sample) -> Gold | None:
    """What people gave to an answer: the metadata's `gold`, {answer, score}; AskError for anything else."""
    gold = sample.metadata.get("gold")
    if gold is None:
        return None
    answer = gold.get("answer") if isinstance(gold, dict) else None
    score = gold.get("score") if isinstance(gold, dict) else None
    is_number = (
        isinstance(score, int | float) and not isinstance(score, bool) and abs(score) <= float_info.max
    )
    if not isinstance(answer, str) or not is_number or set(gold) != {"answer", "score"}:
        raise AskError(
            f"sample '{sample.id}': metadata.gold is what people gave to one answer, "
            '{"answer": TEXT, "score": NUMBER on the judge\'s scale}.'
        )
    return Gold(answer, float(score or 0))


def needed_judge(context: ScoringContext, scorer: str) -> JudgeSettings:
    """The judge of a suite; AskError where neither suite nor asker names one."""
    if context.judge is None:
        raise AskError(
            f"scorer {scorer} asks a judge, and none is named. Add `judge: {{url: ..., model: ..., key: "
            "secret:env:NAME}` to the suite, or give it to the step as `judge`."
        )
    return context.judge
