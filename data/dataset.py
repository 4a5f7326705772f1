"""A dataset's files, written and read: chat lines, rows, what was left out, and the counts."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.artifacts import Artifact
from .rows import TRAIN, VALIDATION, Dropped

if TYPE_CHECKING:
    import polars as pl

_LINE_ENDS = "\x85\u2028\u2029"
FILES = {TRAIN: "train.jsonl", VALIDATION: "validation.jsonl"}


def chat_line(text: str, label: str) -> str:
    """A row as one line of chat JSON: the text from the user, the label from the assistant."""
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
    line = json.dumps({"messages": messages}, ensure_ascii=False)
    for end in _LINE_ENDS:  # some readers, AutoModel's among them, would cut the line there
        line = line.replace(end, f"\\u{ord(end):04x}")
    return line


def write_dataset(
    folder: Path, rows: pl.DataFrame, dropped: Iterable[Dropped], report: Mapping[str, Any], seed: int
) -> None:
    """Put train.jsonl, validation.jsonl, rows.parquet, dropped.jsonl and report.json into a folder.

    rows: columns text, label, domain, split, group. The chat lines are shuffled: from rows that lie label
    by label, a trainer that groups rows by length makes batches of one label, and learns little.
    """
    for split, name in FILES.items():
        mine = rows.filter(rows["split"] == split)
        lines = [chat_line(text, label) for text, label in mine.select("text", "label").iter_rows()]
        random.Random(seed).shuffle(lines)
        _write_lines(folder / name, lines)
    rows.write_parquet(folder / "rows.parquet")
    _write_lines(folder / "dropped.jsonl", [json.dumps(one.line(), ensure_ascii=False) for one in dropped])
    (folder / "report.json").write_text(
        json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    )


def training_rows(dataset: Artifact) -> list[tuple[str, str]]:
    """(text, label) of each row a model was trained on."""
    import polars as pl

    rows = pl.read_parquet(dataset.path / "rows.parquet", columns=["text", "label", "split"])
    return list(rows.filter(pl.col("split") == "train").select("text", "label").iter_rows())


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
