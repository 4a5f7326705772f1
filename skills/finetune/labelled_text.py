"""The rows of a classifier as AutoModel's recipe trains on them: a text's tokens and the place of its label.

A recipe names it as `dataset._target_`. Texts are tokenised once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, overload

from ...core.errors import AskError
from ...data.text import label_form
from ...engines.classifier import longest_text, pad_token, token_rows
from .classes import LABELS, labelled_rows, read_labels
from .shares import read_lines
from .tokenised_chat import TooLong, check_lengths, filled_up

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)


@dataclass
class LabelledText:
    """The chat rows of a JSONL file whose last answer is one of the labels in labels.json."""

    accepts_tokenizer: ClassVar[bool] = True

    path_or_dataset_id: str
    labels: str = LABELS
    max_tokens: int | None = None
    fill_to_multiple_of: int | None = None
    too_long: TooLong = "drop"

    def build(self, *, tokenizer: PreTrainedTokenizerBase | None) -> LabelledRows:
        """Every row but those longer than `max_tokens` and those whose label is not known.

        AutoModel's length-grouped sampler leaves out rows that fill no batch; `fill_to_multiple_of` (the
        batch size) repeats a few instead. Raises AskError as `labelled_rows` and `check_lengths` do.
        """
        if tokenizer is None:
            raise AskError(f"{self.path_or_dataset_id} needs a tokenizer, and the base has none.")
        path = Path(self.path_or_dataset_id)
        places = {label_form(label): place for place, label in enumerate(read_labels(Path(self.labels)))}
        known = [
            (text, places[form])
            for text, label in labelled_rows(read_lines(path), path.name)
            if (form := label_form(label)) in places
        ]
        tokens = token_rows(tokenizer, [text for text, _ in known])
        most = min(self.max_tokens or longest_text(tokenizer), longest_text(tokenizer))
        long = {number: len(row) for number, row in enumerate(tokens) if len(row) > most}
        if long:
            _log.warning("%s", check_lengths(path.name, long, len(tokens), most, self.too_long))
        rows = [(row, known[n][1]) for n, row in enumerate(tokens) if n not in long]
        return LabelledRows(filled_up(rows, len(known), self.fill_to_multiple_of), pad_token(tokenizer))


class LabelledRows(Sequence[dict[str, Any]]):
    """(tokens, place of the label) of each row, as AutoModel's collater takes it.

    Each look gives a new mapping: the collater takes the padding out of the one it is given.
    """

    def __init__(self, rows: Sequence[tuple[list[int], int]], pad: int) -> None:
        self._rows, self._pad = rows, pad

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        tokens, place = self._rows[index]
        return {
            "input_ids": list(tokens),
            "attention_mask": [1] * len(tokens),
            "labels": [place],
            "___PAD_TOKEN_IDS___": {"input_ids": self._pad, "attention_mask": 0, "labels": -100},
        }
