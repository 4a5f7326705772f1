"""What is asked the same items as the model: baselines, and shortcuts that know one thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...core.artifact_refs import DatasetRef
from ...core.contract import StepContext

if TYPE_CHECKING:
    from ...evals.baselines import Baseline, BaselineRun, Rows
    from ...evals.runner import EvalResult
    from ...evals.scorers import Scorer
    from ...evals.shortcuts import Shortcut
    from ...evals.suites import SliceRule, Suite


class Beside:
    """Answers of others to the items that a model was asked, scored by the same scorers in the same slices.

    train: the dataset that they learn from; None when it is not known.
    """

    def __init__(
        self,
        ctx: StepContext,
        suite: Suite,
        scorers: Sequence[Scorer],
        slices: Mapping[str, SliceRule],
        train: DatasetRef | None,
    ) -> None:
        self._ctx, self._suite, self._scorers, self._slices, self._train = ctx, suite, scorers, slices, train

    def baselines(self, measured: EvalResult) -> BaselineRun:
        """From an earlier report when one has them for the same rows and items."""
        from ...evals.baselines import kept_answers, run_baselines

        ids = [item.id for item in measured.items]
        if self._train is not None:
            earlier = kept_answers(self._ctx.artifacts, self._train, self._suite.digest, ids)
            if earlier is not None:
                return earlier
        asked, task = self._suite.items_by_id(ids), self._suite.task
        return run_baselines(task, self._rows(), asked, lambda n, of: self._ctx.progress(n, of, "baselines"))

    def shortcuts(self, measured: EvalResult) -> list[Shortcut]:
        """Those that fit the suite's task and could be scored."""
        from ...evals.shortcuts import run_shortcuts, shortcut_of

        asked = self._suite.items_by_id([item.id for item in measured.items])
        run = run_shortcuts(self._suite.task, self._rows(), asked)
        found = (shortcut_of(one.name, measured, self.scored(one, measured)) for one in run.baselines)
        return [one for one in found if one is not None]

    def scored(self, answered: Baseline, measured: EvalResult) -> EvalResult:
        """Somebody's answers as if they were the model's."""
        from dataclasses import replace

        from ...engines import GenerationResult
        from ...evals.runner import score

        items = self._suite.items_by_id([item.id for item in measured.items])
        answers = [GenerationResult(text) for text in answered.answers]
        scores = score(self._scorers, items, answers, self._slices)
        return replace(measured, model=answered.name, items=tuple(scores), variants={})

    def _rows(self) -> Rows | None:
        from ...data.dataset import training_rows

        return None if self._train is None else training_rows(self._ctx.artifacts.open(self._train))
