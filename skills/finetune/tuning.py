"""What a request leaves to the base: rate, length, precision, rows at once, which weights are kept.

A base that was trained by a recipe of ours goes on with that recipe's settings; another has them by method
and size. Nothing measured on the model made from data is carried to a model that was not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...core.suite_source import suite_name

if TYPE_CHECKING:
    from .base import BaseFacts
    from .request import FinetuneRequest

_MODULE = re.compile(r"^[A-Za-z0-9_.*]{1,100}$")
SMALL = 10_000_000  # parameters below which a training is no test of memory or of precision
_TOKENS_AT_ONCE = 8_192
_MOST_TOKENS = 2_048
# Starting points, for AdamW: parameters below which it holds, rate of sft, rate of adapters. For the small:
# measured on models of about 1 M. 2e-5 at 7 B: Touvron et al. 2023 (Llama 2), section 3.1; 1e-5 at 65 B:
# Zhou et al. 2023 (LIMA), section 3; adapters 2e-4 below and 1e-4 from 33 B: Dettmers et al. 2023 (QLoRA),
# table 9. Between the small and 1 B nothing was measured here: the steps are by eye.
_RATES = (
    (SMALL, 1e-3, 5e-3),
    (500_000_000, 1e-4, 1e-3),
    (30_000_000_000, 2e-5, 2e-4),
    (math.inf, 1e-5, 1e-4),
)
# A request's setting, where a recipe has it, and the least and most that it may be.
_INHERITED = {
    "epochs": ("step_scheduler", "num_epochs", 1, 1000),
    "batch_size": ("step_scheduler", "global_batch_size", 1, 65_536),
    "max_tokens": ("dataset", "max_tokens", 16, 131_072),
    "lora_rank": ("peft", "dim", 1, 512),
    "lora_alpha": ("peft", "alpha", 1, 1024),
}
Precision = Literal["float32", "mixed", "bfloat16"]


@dataclass(frozen=True)
class Tuning:
    """The settings that a training takes where its request is empty, and where its rate is from."""

    learning_rate: float
    rate_from: str
    max_tokens: int
    precision: Precision
    micro_batch_size: int
    keep_best: bool
    keep_by: str = ""  # the suite that decides which are best; empty: the validation loss

    def in_words(self) -> str:
        """One line for a person."""
        best = f"highest score on suite {self.keep_by}" if self.keep_by else "lowest validation loss"
        kept = best if self.keep_best else "last step"
        return (
            f"learning rate {self.learning_rate:g} ({self.rate_from}), {self.precision}, rows of at most "
            f"{self.max_tokens:,} tokens, {self.micro_batch_size} at once, weights of the {kept} kept."
        )


def tune(request: FinetuneRequest, base: BaseFacts, device: str, has_validation: bool) -> Tuning:
    """The settings of a request on a base; `device` is cpu or cuda."""
    rate, origin = _rate(request, base)
    max_tokens = request.max_tokens or _max_tokens(base)
    keep = request.keep or ("best" if has_validation else "last")
    return Tuning(
        learning_rate=rate,
        rate_from=origin,
        max_tokens=max_tokens,
        precision=request.precision or _precision(request, base, device),
        micro_batch_size=request.micro_batch_size or _rows_at_once(request, base, max_tokens),
        keep_best=keep == "best" and (has_validation or request.keep_by is not None),
        keep_by="" if request.keep_by is None else suite_name(request.keep_by),
    )


def inherited(recipe: Mapping[str, Any], trains_adapters: bool) -> dict[str, Any]:
    """The request's settings that a training by this recipe had, for one that goes on from its result.

    The rate is halved where the recipe started from no weights, and left out where it trained by another
    method. What is not as a recipe of ours has it is left out.
    """
    found: dict[str, Any] = {}
    if (recipe.get("peft") is not None) == trains_adapters and (rate := recipe_rate(recipe)) is not None:
        found["learning_rate"] = rate
    for name, (section, key, least, most) in _INHERITED.items():
        value = _at(recipe, section, key)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            found[name] = value
    if trains_adapters and (targets := _adapted(recipe)):
        found["lora_targets"] = targets
    kept = _at(recipe, "step_scheduler", "validate_on_checkpoint")
    if isinstance(kept, bool):
        found["keep"] = "best" if kept else "last"
    return found


def _adapted(recipe: Mapping[str, Any]) -> list[str]:
    """The modules that a recipe gives adapters; none where it names no such."""
    named = _at(recipe, "peft", "target_modules")
    targets = [named] if isinstance(named, str) else named
    known = isinstance(targets, list) and all(isinstance(one, str) and _MODULE.match(one) for one in targets)
    return list(targets) if known else []


def recipe_rate(recipe: Mapping[str, Any]) -> float | None:
    """The peak rate to go on with after a training by this recipe; None where it has none of use."""
    rate = _at(recipe, "optimizer", "lr")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
        return None
    return float(rate) / 2 if was_from_scratch(recipe) else float(rate)


def was_from_scratch(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe starts from a config without weights."""
    return str(_at(recipe, "model", "_target_")).endswith(".from_config")


def _at(recipe: Mapping[str, Any], section: str, key: str) -> Any:
    part = recipe.get(section)
    return part.get(key) if isinstance(part, Mapping) else None


def _rate(request: FinetuneRequest, base: BaseFacts) -> tuple[float, str]:
    if request.learning_rate is not None:
        return request.learning_rate, "as asked"
    same_method = base.recipe is not None and (base.recipe.get("peft") is not None) == request.trains_adapters
    if base.recipe is not None and same_method and (rate := recipe_rate(base.recipe)) is not None:
        half = "half of that of" if was_from_scratch(base.recipe) else "that of"
        return rate, f"{half} the base's own recipe"
    rate = next(
        adapters if request.trains_adapters else full
        for below, full, adapters in _RATES
        if base.parameters < below
    )
    return rate, f"for {request.method} of {base.parameters / 1e6:,.0f} M parameters"


def _max_tokens(base: BaseFacts) -> int:
    own = _at(base.recipe, "dataset", "max_tokens") if base.recipe is not None else None
    if isinstance(own, int) and 16 <= own <= 131_072:
        return own
    return min(base.positions or _MOST_TOKENS, _MOST_TOKENS)


def _precision(request: FinetuneRequest, base: BaseFacts, device: str) -> Precision:
    if request.method == "qlora":
        return "bfloat16"
    if device == "cpu" or base.parameters < SMALL:
        return "float32"
    return "bfloat16" if request.trains_adapters else "mixed"


def _rows_at_once(request: FinetuneRequest, base: BaseFacts, max_tokens: int) -> int:
    """The most rows that divide a GPU's share and stay below the tokens it computes at once."""
    share = request.batch_size // request.processes
    if base.parameters < SMALL:
        return share
    fitting = [
        rows for rows in range(1, share + 1) if share % rows == 0 and rows * max_tokens <= _TOKENS_AT_ONCE
    ]
    return max(fitting, default=1)
