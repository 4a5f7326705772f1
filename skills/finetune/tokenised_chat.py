"""A chat dataset that renders and tokenises each row once, instead of once an epoch.

A recipe names it as `dataset._target_`. The rows are exactly those of AutoModel's own `ChatDataset`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...core.errors import AskError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class TokenisedChat:
    """Chat rows of a JSONL file as AutoModel trains on them, held in memory (about 0.5 KB a short row)."""

    accepts_tokenizer: ClassVar[bool] = True

    path_or_dataset_id: str
    max_tokens: int | None = None
    fill_to_multiple_of: int = 1

    def build(self, *, tokenizer: PreTrainedTokenizerBase | None) -> list[dict[str, Any]]:
        """Every row's input_ids, labels (shifted) and attention_mask.

        AutoModel's length-grouped sampler leaves out the shortest rows where they do not fill a batch, the
        same ones in every epoch; `fill_to_multiple_of` (the batch size) repeats a few rows instead. Raises
        AskError, naming the row, when one is longer than `max_tokens` or holds no chat.
        """
        from nemo_automodel.components.datasets.llm.chat_dataset import ChatDataset

        chats = ChatDataset(self.path_or_dataset_id, tokenizer)
        rows = []
        for number in range(len(chats)):
            try:
                row = chats[number]
            except ValueError as error:
                raise AskError(f"{self.path_or_dataset_id}, row {number + 1}: {error}") from error
            length = len(row["input_ids"])
            if self.max_tokens is not None and length > self.max_tokens:
                raise AskError(
                    f"{self.path_or_dataset_id}, row {number + 1} has {length} tokens, more than max_tokens "
                    f"{self.max_tokens}. Raise it (the model's own limit may be lower) or drop the row."
                )
            rows.append(row)
        missing = -len(rows) % self.fill_to_multiple_of
        return rows + [rows[place * len(rows) // missing] for place in range(missing)]
