"""A chat dataset that renders and tokenises each row once, instead of once an epoch.

A recipe names it as `dataset._target_`. The rows are exactly those of AutoModel's own `ChatDataset`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from ...core.errors import AskError
from .chat_rows import chat_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_LEFT_OUT = 0.05  # the share of rows that may be left out for their length
TooLong = Literal["drop", "refuse"]
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass
class TokenisedChat:
    """Chat rows of a JSONL file as AutoModel trains on them, held in memory (about 0.5 KB a short row)."""

    accepts_tokenizer: ClassVar[bool] = True

    path_or_dataset_id: str
    max_tokens: int | None = None
    fill_to_multiple_of: int | None = None
    mask_generation_prompt: bool = False
    last_turn_only: bool = False
    too_long: TooLong = "drop"

    def build(self, *, tokenizer: PreTrainedTokenizerBase | None) -> list[dict[str, Any]]:
        """Every row's input_ids, labels (shifted) and attention_mask, but those longer than `max_tokens`.

        AutoModel's length-grouped sampler leaves out the shortest rows where they do not fill a batch, the
        same ones in every epoch; `fill_to_multiple_of` (the batch size) repeats a few rows instead, and as
        many as were left out, so that the steps stay those of the recipe. Raises AskError when a row holds no
        chat, and as `check_lengths` does.
        """
        chats = chat_rows(
            self.path_or_dataset_id,
            tokenizer,  # type: ignore[arg-type]  # AutoModel refuses None itself
            mask_generation_prompt=self.mask_generation_prompt,
            last_turn_only=self.last_turn_only,
        )
        rows, long = [], {}
        for number in range(len(chats)):
            try:
                row = chats[number]
            except ValueError as error:
                raise AskError(f"{self.path_or_dataset_id}, row {number + 1}: {error}") from error
            length = len(row["input_ids"])
            if self.max_tokens is not None and length > self.max_tokens:
                long[number] = length
            else:
                rows.append(row)
        if long and self.max_tokens is not None:
            _log.warning(
                "%s",
                check_lengths(self.path_or_dataset_id, long, len(chats), self.max_tokens, self.too_long),
            )
        return filled_up(rows, len(chats), self.fill_to_multiple_of)


def filled_up(rows: list[T], wanted: int, multiple_of: int | None) -> list[T]:
    """The rows, some twice, so that they are as many as wanted and fill a multiple; None: as they are.

    Those seen twice lie spread over all.
    """
    if multiple_of is None:
        return rows
    missing = wanted + -wanted % multiple_of - len(rows)
    return rows + [rows[place * len(rows) // missing] for place in range(missing)]


def check_lengths(name: str, long: dict[int, int], looked_at: int, max_tokens: int, rule: TooLong) -> str:
    """What is done with rows that are too long, in words; AskError where they are not to be left out.

    long: tokens by row number (from 0) of those over `max_tokens`, among `looked_at` rows. Rows are left out
    by rule `drop`, where they are at most one in twenty.
    """
    longest = max(long.values())
    first = next(iter(long))
    found = (
        f"{name}: {len(long):,} of {looked_at:,} rows have more than max_tokens {max_tokens} tokens (row "
        f"{first + 1} has {long[first]:,}, the longest {longest:,})"
    )
    if rule == "refuse" or len(long) > MOST_LEFT_OUT * looked_at:
        why = "too_long is 'refuse'" if rule == "refuse" else f"at most {MOST_LEFT_OUT:.0%} are left out"
        raise AskError(
            f"{found}; {why}. Set max_tokens={longest} (the model's own limit may be lower), or shorten "
            "the rows."
        )
    return f"{found}; they are left out, and others are seen again in their place"
