"""The label check: before any training, what a sample of rows would really teach is decoded and compared.

A wrong chat template masks the answer's first token, teaches the role header or leaves out the end token.
None of that shows in the loss, which falls just as well.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import AskError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FIX = (
    "Give the tokenizer a chat template that wraps exactly the assistant's text and its end token in "
    "{% generation %} ... {% endgeneration %}, or start from a base that has one."
)


@dataclass(frozen=True)
class LabelCheck:
    """Rows whose supervised text was compared, and those of them that differ in a way the base makes.

    `altered` rows lose white space around the assistant's text, or are normalised (Unicode NFC), by the
    base's own chat template or tokenizer.
    """

    rows: int
    altered: int = 0


def check_labels(data: Path, tokenizer: PreTrainedTokenizerBase, sample: int = 64) -> LabelCheck:
    """Check that exactly the assistant's text and its end token are supervised, on rows spread over a file.

    Raises AskError that shows the first row which differs.
    """
    from nemo_automodel.components.datasets.llm.chat_dataset import ChatDataset

    if not getattr(tokenizer, "chat_template", None):
        raise AskError(f"the base's tokenizer has no chat template. {_FIX}")
    chats = ChatDataset(str(data), tokenizer)
    lines = data.read_text(encoding="utf-8").splitlines()
    numbers = _spread(len(chats), sample)
    altered = 0
    for number in numbers:
        messages = json.loads(lines[number])["messages"]
        wanted = [m["content"] for m in messages if m["role"] == "assistant"]
        taught = [str(tokenizer.decode(run)) for run in _runs(chats[number]["labels"])]
        if problem := difference(wanted, taught, tokenizer.all_special_tokens):
            raise AskError(f"{data.name}, row {number + 1} has wrong labels: {problem} {_FIX}")
        altered += any(text not in run for text, run in zip(wanted, taught, strict=True))
    return LabelCheck(len(numbers), altered)


def _spread(rows: int, sample: int) -> list[int]:
    """At most `sample` row numbers, evenly over `rows`, the first and last among them."""
    if rows <= sample:
        return list(range(rows))
    return sorted({round(i * (rows - 1) / (sample - 1)) for i in range(sample)})


def _runs(labels: Sequence[int]) -> Iterator[list[int]]:
    """The unbroken runs of supervised labels."""
    run: list[int] = []
    for label in [*labels, -100]:
        if label != -100:
            run.append(label)
        elif run:
            yield run
            run = []


def difference(wanted: Sequence[str], taught: Sequence[str], ends: Sequence[str]) -> str:
    """What is wrong with the texts that would be taught, or an empty string.

    wanted: what the assistant says; taught: the decoded supervised stretches; ends: tokens that may end one.
    White space around a text, and its Unicode normalisation, are the template's and the tokenizer's affair.
    """
    if len(wanted) != len(taught):
        return (
            f"it has {len(wanted)} assistant messages, {len(taught)} stretches are supervised ({taught!r})."
        )
    for text, run in zip(wanted, taught, strict=True):
        end = next((token for token in ends if run.rstrip().endswith(token)), None)
        if end is None:
            return f"the supervised text {run!r} has no end token, so the model would not learn to stop."
        body = run.rstrip().removesuffix(end)
        if unicodedata.normalize("NFC", body).strip() != unicodedata.normalize("NFC", text).strip():
            return f"the assistant says {text!r}, supervised is {run!r}."
    return ""
