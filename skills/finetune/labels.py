"""The label check: before any training, what a sample of rows would really teach is decoded and compared.

A wrong chat template masks the answer's first token, teaches the role header or leaves out the end token.
None of that shows in the loss, which falls just as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import AskError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FIX = (
    "Give the tokenizer a chat template that wraps exactly the assistant's text and its end token in "
    "{% generation %} ... {% endgeneration %}, or start from a base that has one."
)


def check_labels(data: Path, tokenizer: PreTrainedTokenizerBase, sample: int = 64) -> int:
    """Check that exactly the assistant's text and its end token are supervised, on rows spread over a file.

    Returns the number of rows checked. Raises AskError that shows the first row which differs.
    """
    from nemo_automodel.components.datasets.llm.chat_dataset import ChatDataset

    if not getattr(tokenizer, "chat_template", None):
        raise AskError(f"the base's tokenizer has no chat template. {_FIX}")
    chats = ChatDataset(str(data), tokenizer)
    lines = data.read_text(encoding="utf-8").splitlines()
    numbers = _spread(len(chats), sample)
    for number in numbers:
        messages = json.loads(lines[number])["messages"]
        wanted = [m["content"].strip() for m in messages if m["role"] == "assistant"]
        taught = [str(tokenizer.decode(run)) for run in _runs(chats[number]["labels"])]
        if problem := difference(wanted, taught, tokenizer.all_special_tokens):
            raise AskError(f"{data.name}, row {number + 1} has wrong labels: {problem} {_FIX}")
    return len(numbers)


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
    """
    if len(wanted) != len(taught):
        return (
            f"it has {len(wanted)} assistant messages, {len(taught)} stretches are supervised ({taught!r})."
        )
    for text, run in zip(wanted, taught, strict=True):
        end = next((token for token in ends if run.rstrip().endswith(token)), None)
        if end is None:
            return f"the supervised text {run!r} has no end token, so the model would not learn to stop."
        if run.rstrip().removesuffix(end).strip() != text:
            return f"the assistant says {text!r}, supervised is {run!r}."
    return ""
