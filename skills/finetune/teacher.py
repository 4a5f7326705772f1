"""Distillation: a student learns from what a frozen teacher would say, beside the rows' own answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError

if TYPE_CHECKING:
    from .base import BaseFacts
    from .request import FinetuneRequest
    from .tuning import Tuning

TEACHER = "teacher"  # its folder beside `base`
RECIPE_NAME = "KnowledgeDistillationRecipeForNextTokenPrediction"
_NEMO = "nemo_automodel"


def teacher_sections(request: FinetuneRequest, tuning: Tuning) -> dict[str, Any]:
    """What a recipe says of its teacher; empty without one."""
    if request.teacher is None:
        return {}
    return {
        "recipe": RECIPE_NAME,
        "teacher_model": {
            "_target_": f"{_NEMO}.NeMoAutoModelForCausalLM.from_pretrained",
            "pretrained_model_name_or_path": TEACHER,
            "torch_dtype": "bfloat16" if tuning.precision != "float32" else "float32",
        },
        "kd_ratio": request.teacher_share,
        "kd_loss_fn": {
            "_target_": f"{_NEMO}.components.loss.kd_loss.KDLoss",
            "temperature": request.teacher_temperature,
        },
    }


def check_reads_alike(student: BaseFacts, teacher: BaseFacts, max_tokens: int) -> None:
    """AskError for a teacher whose sizes show that it cannot teach this student."""
    if teacher.positions and max_tokens > teacher.positions:
        raise AskError(
            f"max_tokens {max_tokens} is more than the teacher reads (max_position_embeddings "
            f"{teacher.positions}). Set max_tokens={teacher.positions} or less."
        )
    if student.vocabulary != teacher.vocabulary:
        raise AskError(
            f"the teacher says {teacher.vocabulary:,} different tokens and the base {student.vocabulary:,}: "
            "distillation compares them one by one. Take two models of one family."
        )


def check_same_tokens(own: Mapping[str, int], others: Mapping[str, int]) -> None:
    """AskError when a token is another text to the teacher than to the base; each has its vocabulary.

    NeMo AutoModel compares the number of tokens alone; the same number of others would be learned in silence.
    """
    if own == others:
        return
    differ = sorted(text for text in own.keys() | others.keys() if own.get(text) != others.get(text))
    raise AskError(
        f"the teacher's tokenizer is not the base's: {len(differ):,} tokens differ, as {differ[0]!r}. What "
        "one says would be another text to the other. Take two models of one family."
    )
