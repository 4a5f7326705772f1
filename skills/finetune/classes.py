"""The labels a classifier learns: those of a dataset's training rows, and what of a row is text and label."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...core.artifacts import Artifact
from ...core.errors import AskError
from ...data.dataset import FILES
from ...data.rows import TRAIN, VALIDATION
from ...data.sample import ASSISTANT
from ...data.text import label_form
from .shares import Verified, read_lines, shared_lines

LABELS = "labels.json"  # in the work folder: the labels, in the order of the head


@dataclass(frozen=True)
class Classes:
    """The labels in the order of the head, and the rows of each file that have one of them.

    unknown: validation rows whose label no training row has; they are left out.
    """

    labels: tuple[str, ...]
    train_rows: int
    validation_rows: int = 0
    unknown: int = 0


def classes_of(data: Artifact, share: float = 1, seed: int = 0) -> Classes:
    """What a dataset's rows have, or a share of its training rows, drawn by seed.

    AskError for a dataset of another task, without two labels, and for a row that ends in no label.
    """
    task = data.facts.get("task", "classify")
    if task != "classify":
        raise AskError(
            f"{data.ref.short} holds rows of task '{task}', and a classifier learns labels (classify). Take "
            "method 'sft', or curate again with task=classify where each answer is a label."
        )
    return _classes(Verified(data), share, seed)


@lru_cache(maxsize=8)  # pre-flight, estimate and step ask for the same one
def _classes(dataset: Verified, share: float, seed: int) -> Classes:
    from ...evals.baselines import one_spelling

    folder, name = dataset.data.path, dataset.data.ref.short
    train, held_out = folder / FILES[TRAIN], folder / FILES[VALIDATION]
    lines = read_lines(train) if share == 1 else shared_lines(dataset.data, share, seed)
    rows = list(labelled_rows(lines, train.name))
    labels = tuple(sorted({label for _, label in one_spelling(rows)}))
    if len(labels) < 2:
        raise AskError(f"the training rows of {name} have {len(labels)} label(s); a classifier needs two.")
    known = set(map(label_form, labels))
    lines = read_lines(held_out) if held_out.is_file() else []
    found = [label_form(label) in known for _, label in labelled_rows(lines, held_out.name)]
    return Classes(labels, len(rows), sum(found), len(found) - sum(found))


def labelled_rows(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, str]]:
    """(text, label) of each chat line, as a classifier reads and learns it; AskError for one without."""
    from ...engines.classifier import text_read

    for number, line in enumerate(lines, start=1):
        try:
            *said, last = json.loads(line)["messages"]
            text, label = text_read(said), last["content"] if last["role"] == ASSISTANT else ""
        except (ValueError, KeyError, TypeError) as error:
            raise AskError(f"{name}, row {number} is not a chat line: {error!r}") from error
        if not text.strip() or not isinstance(label, str) or not label.strip():
            raise AskError(f"{name}, row {number} is no text with a label after it.")
        yield text, label


def write_labels(path: Path, labels: Iterable[str]) -> None:
    """Put the labels into a file, in the order of the head."""
    path.write_text(json.dumps(list(labels), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels in a file."""
    return tuple(json.loads(path.read_text(encoding="utf-8")))
