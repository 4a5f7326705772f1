"""What an engine and the checkpoint it was built from are both asked, and what their answers are worth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, TypeVar

from ..core.artifacts import Artifact
from ..core.errors import OpswrightError
from ..data.dataset import FILES
from ..data.rows import TRAIN, VALIDATION
from ..data.sample import ASSISTANT, Sample
from ..engines.base import Chat
from ..engines.builders import ParityCase
from .prompts import as_text_message
from .scorers import Scorer
from .suites import Suite

T = TypeVar("T")


class ParityScores(NamedTuple):
    """The mean score of checkpoint and engine by one scorer, on the items that it could score of both."""

    metric: str
    checkpoint: float
    engine: float


@dataclass(frozen=True)
class ParityPrompts:
    """Prompts, where they come from in words, and of a suite the items behind them with what scores answers.

    unscored: why answers are compared alone, where that is so.
    """

    where: str
    chats: Sequence[Chat]
    items: Sequence[Sample] = ()
    scorer: Scorer | None = None
    unscored: str = ""

    def scores(self, cases: Sequence[ParityCase]) -> ParityScores | None:
        """What the answers of both are worth; None where nothing scores them."""
        if self.scorer is None:
            return None
        pairs = [
            (
                self.scorer.score(self.items[case.place], case.checkpoint).value,
                self.scorer.score(self.items[case.place], case.engine).value,
            )
            for case in cases
        ]
        scored = [(before, after) for before, after in pairs if before is not None and after is not None]
        if not scored:
            return None
        return ParityScores(self.scorer.name, *(fmean(values) for values in zip(*scored, strict=True)))


def suite_prompts(suite: Suite, where: str, most: int, trust: Path | None = None) -> ParityPrompts:
    """A suite's prompts as a model is asked them, evenly spread, and its first scorer.

    trust: the folder whose Python scorers may be run.
    """
    items = spread(suite.items, most)
    chats = [suite.prompt.chat(item) for item in items]
    if suite.by_likelihood or suite.asks_server:
        asks = "a judge" if suite.asks_judge else "an embedder"
        why = "chooses by likelihood" if suite.by_likelihood else f"asks {asks}"
        return ParityPrompts(where, chats, unscored=f"the suite {why}")
    try:
        return ParityPrompts(where, chats, items, suite.load_scorers(trust)[0])
    except OpswrightError as error:
        return ParityPrompts(where, chats, unscored=str(error))


def dataset_prompts(dataset: Artifact, where: str, most: int) -> ParityPrompts:
    """What is asked in a dataset's validation rows: each conversation up to its last answer."""
    return ParityPrompts(where, _asked(dataset, VALIDATION, most), unscored="validation rows have no scorer")


def training_prompts(dataset: Artifact, most: int) -> list[Chat]:
    """What is asked in a dataset's training rows, evenly spread; nothing that is held out."""
    return _asked(dataset, TRAIN, most)


def _asked(dataset: Artifact, side: str, most: int) -> list[Chat]:
    with (dataset.path / FILES[side]).open(encoding="utf-8") as lines:
        said = [json.loads(line)["messages"] for line in lines if line.strip()]
    asked = ([*map(as_text_message, one[:-1] if one[-1]["role"] == ASSISTANT else one)] for one in said)
    return spread([one for one in asked if one], most)


def spread(things: Iterable[T], most: int) -> list[T]:
    """At most so many of some things, evenly from first to last."""
    whole = list(things)
    step = max(1.0, len(whole) / most)
    return [whole[int(place * step)] for place in range(min(len(whole), most))]
