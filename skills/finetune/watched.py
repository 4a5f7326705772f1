"""AutoModel's recipe with what its 0.7.0 lacks: an early end, and autocast where one GPU computes."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .classifier import RECIPE_NAME as CLASSIFIER_RECIPE
from .curve import Curve
from .teacher import RECIPE_NAME

if TYPE_CHECKING:
    from .selecting import SuiteJudge

_log = logging.getLogger(__name__)


def is_over(losses: Sequence[float], patience: int | None) -> bool:
    """Whether the last `patience` validations brought no loss below the lowest before them."""
    if patience is None or len(losses) <= patience:
        return False
    before = [loss for loss in losses[:-patience] if math.isfinite(loss)]
    return not any(loss < min(before, default=math.inf) for loss in losses[-patience:])


def _recipe_class(config: Any) -> Any:
    """The class of AutoModel that a config names as its recipe."""
    if config.get("recipe") == CLASSIFIER_RECIPE:
        from nemo_automodel.recipes.llm.train_seq_cls import (
            TrainFinetuneRecipeForSequenceClassification as Found,
        )
    elif config.get("recipe") == RECIPE_NAME:
        from nemo_automodel.recipes.llm.kd import KnowledgeDistillationRecipeForNextTokenPrediction as Found
    else:
        from nemo_automodel.recipes.llm.train_ft import TrainFinetuneRecipeForNextTokenPrediction as Found
    return Found


def _autocast(models: Sequence[Any], dtype: Any) -> None:
    """Have modules of torch compute in a dtype where their device can."""
    import torch

    for model in models:
        device = next(model.parameters()).device.type
        model.forward = torch.autocast(device, dtype=dtype)(model.forward)


def _mark_padding(models: Sequence[Any], tokenizer: Any) -> None:
    """Tell a classifier which token pads: it looks for a row's last one by that."""
    from ...engines.classifier import pad_token

    for model in models:
        model.config.get_text_config().pad_token_id = pad_token(tokenizer)


def watched_recipe(config: Any, patience: int | None, judge: SuiteJudge | None = None) -> Any:
    """The recipe of a config; after `patience` validations without a lower loss its step is the last.

    With a judge, each saved checkpoint is asked its suite, and patience counts scores that are not higher.
    What was seen before a resume counts. The last step saves a checkpoint, as it would anyway.
    """

    class Watched(_Watching, _recipe_class(config)):  # type: ignore[misc]
        pass

    recipe = Watched(config)
    recipe.classifies = config.get("recipe") == CLASSIFIER_RECIPE
    recipe.patience, recipe.judge = patience, judge
    return recipe


class _Watching:
    """What is mixed into a recipe of AutoModel; it looks after each validation and each saved checkpoint."""

    classifies: bool  # then there is one validation, and it has no name
    patience: int | None
    judge: SuiteJudge | None
    losses: list[float]  # or scores, negative: lower is better
    step_scheduler: Any  # this and what follows are the recipe's own
    model_parts: Sequence[Any]
    tokenizer: Any
    distributed_config: Any
    checkpointer: Any
    metric_logger_train: Any
    metric_logger_valid: Any

    def setup(self) -> None:
        super().setup()  # type: ignore[misc]
        if self.classifies:
            _mark_padding(self.model_parts, self.tokenizer)
            return
        dtype = getattr(self.distributed_config, "autocast_dtype", None)
        if dtype is not None:  # read by other recipes of AutoModel, and by this one not
            _autocast(self.model_parts, dtype)

    def has_stopped_early(self, checkpoints: Path) -> bool:
        """Take in what an earlier attempt validated; whether that ended the training."""
        done = self.step_scheduler.step
        if self.judge is not None:
            if done:
                self.judge.catch_up((checkpoints / "LATEST").resolve(), done)
            self.losses = [-value for _, value in self.judge.scores(below=done)]
        else:
            seen = Curve.read(checkpoints).validation if self.patience is not None else ()
            self.losses = [float(one["val_loss"]) for one in seen if int(one["step"]) < done]
        return is_over(self.losses, self.patience)

    def save_checkpoint(self, epoch: int, step: int, train_loss: float, *others: Any, **named: Any) -> None:
        validations = [self.metric_logger_valid] if self.classifies else self.metric_logger_valid.values()
        for log in (self.metric_logger_train, *validations):
            log.flush()  # what a resume from here has no step to write again
        super().save_checkpoint(epoch, step, train_loss, *others, **named)  # type: ignore[misc]
        if self.judge is None or self.step_scheduler.sigterm_flag:  # one to go on from, not one to choose
            return
        folder = Path(self.checkpointer.config.checkpoint_dir) / f"epoch_{epoch}_step_{step}"
        value = self.judge.judge(folder.resolve(), step + 1)
        _log.warning("step %d: suite %s scores %.4f", step + 1, self.judge.suite.name, value)
        self.losses.append(-value)
        self._end_when_over(f"the score of suite {self.judge.suite.name} did not rise")

    def log_val_metrics(self, *told: Any) -> None:
        super().log_val_metrics(*told)  # type: ignore[misc]
        val_name, log_data = ("default", told[0]) if self.classifies else told[:2]
        if self.patience is None or log_data is None or val_name != "default" or self.judge is not None:
            return
        self.losses.append(float(log_data.metrics["val_loss"]))
        self._end_when_over("the validation loss did not fall")

    def _end_when_over(self, why: str) -> None:
        steps = self.step_scheduler
        if is_over(self.losses, self.patience) and steps.step + 1 < steps.max_steps:
            last = steps.step + 1
            _log.warning(
                "%s in %d validations: step %d of %d is the last", why, self.patience, last, steps.max_steps
            )
            steps.max_steps = last
