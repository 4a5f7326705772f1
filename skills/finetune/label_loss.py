"""A loss that applies the output head at supervised positions only.

A recipe names it as `loss_fn._target_`. In chat rows most positions are the prompt, which is not learnt:
projecting them onto the vocabulary is most of the head's work and none of its use.
"""

from __future__ import annotations

import torch
from nemo_automodel.components.loss.linear_ce_base import LinearCrossEntropy
from torch.nn import functional


class LabelOnlyCrossEntropy(LinearCrossEntropy):  # type: ignore[misc]
    """Cross-entropy over the positions whose label is not `ignore_index`; equal to that over all positions.

    Only for models whose logits are exactly hidden states times the head's weight: no bias, scale or cap.
    """

    def __init__(self, ignore_index: int = -100, reduction: str = "sum") -> None:
        super().__init__()
        if reduction != "sum":
            raise ValueError(f"reduction must be 'sum', found '{reduction}'")
        self.ignore_index = ignore_index
        self.reduction = reduction

    def forward(
        self,
        hidden_states: torch.Tensor,  # (batch, sequence, hidden)
        labels: torch.Tensor,  # (batch, sequence), already shifted
        lm_weight: torch.Tensor,  # (vocabulary, hidden)
        num_label_tokens: int | None = None,
        grad_reduce_group: object = None,
    ) -> torch.Tensor:
        """The summed loss, divided by `num_label_tokens` where given.

        The head's weight comes gathered from AutoModel, so `grad_reduce_group` has done its work by then.
        """
        supervised = labels != self.ignore_index
        chosen = hidden_states[supervised]  # (n, hidden)
        logits = functional.linear(chosen, lm_weight.to(chosen.dtype)).float()  # (n, vocabulary)
        loss = functional.cross_entropy(logits, labels[supervised].to(logits.device), reduction="sum")
        return loss if num_label_tokens is None else loss / max(num_label_tokens, 1)
