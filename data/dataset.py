"""A dataset's files, written and read: chat lines, rows, what was left out, and the counts."""

from __future__ import annotations

import json
import os
import random
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ..core.artifacts import Artifact
from .rows import GOLDEN, TRAIN, VALIDATION, Dropped
from .sample import Message, Sample

FILES = {TRAIN: "train.jsonl", VALIDATION: "validation.jsonl"}
ROWS, DROPPED, REPORT = "rows.parquet", "dropped.jsonl", "report.json"
_LINE_ENDS = "\x85\u2028\u2029"
_ROWS_AT_ONCE, _CHARS_AT_ONCE = 10_000, 16_000_000
_ROWS_READ_AT_ONCE = 1000
_TEXTS = (
    "text", "label", "domain", "split", "group", "own_group", "source", "id", "messages", "tools", "tags",
)  # fmt: skip
_LISTS = ("targets", "choices", "contexts", "rejected")
_JSON = ("messages", "tools", "tags")
_json = json.JSONEncoder(ensure_ascii=False).encode


def chat_line(sample: Sample) -> str:
    """A sample as one line of chat JSON, as a trainer takes it: the conversation, and the tools it has."""
    said: dict[str, Any] = {"messages": learned(sample)}
    if sample.tools:
        said["tools"] = sample.tools
    line = _json(said)
    if not line.isascii():
        for end in _LINE_ENDS:  # some readers, AutoModel's among them, would cut the line there
            line = line.replace(end, f"\\u{ord(end):04x}")
    return line


def learned(sample: Sample) -> tuple[Message, ...]:
    """The conversation a model learns: contexts and choices, where there are any, in the last question."""
    said = list(sample.conversation)
    if sample.contexts or sample.choices:
        last = max((at for at, one in enumerate(said) if one["role"] == "user"), default=None)
        if last is not None:
            said[last] = {**said[last], "content": asked_with(sample)}
    return tuple(said)


def asked_with(sample: Sample) -> str:
    """The last question with what it is about: contexts as paragraphs before it, choices as lines after it.

    Choices are lettered from A. A sample with neither is asked as it is.
    """
    choices = "\n".join(f"{chr(65 + at)}. {choice}" for at, choice in enumerate(sample.choices))
    return "\n\n".join([*sample.contexts, sample.question, *([choices] if choices else [])])


class DatasetWriter:
    """Writes a dataset row by row: train.jsonl, validation.jsonl, rows.parquet, dropped.jsonl.

    In memory are some thousand rows and 12 bytes a line. A context manager: the files are complete when it
    ends. The chat lines are shuffled: from rows that lie label by label, a trainer that groups rows by length
    makes batches of one label, and learns little.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._files = ExitStack()
        self._lines = {
            split: _ShuffledLines(self._files.enter_context(tempfile.TemporaryFile(dir=folder)))  # noqa: SIM115
            for split in FILES
        }
        self._dropped = self._files.enter_context((folder / DROPPED).open("w", encoding="utf-8"))
        self._rows = _RowsFile(folder / ROWS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._files:
            self._rows.close()
            if kind is None:
                for split, lines in self._lines.items():
                    lines.write(self._folder / FILES[split], self._seed)

    def add(self, sample: Sample, split: str, group: str, source: str | None = None) -> None:
        """A row of the dataset; one that is of neither side of the split is no chat line."""
        if split in self._lines:
            self._lines[split].add(chat_line(sample))
        self._rows.add(row_of(sample, split, group, source))

    def drop(self, row: Dropped) -> None:
        """A row that was left out."""
        self._dropped.write(json.dumps(row.line(), ensure_ascii=False) + "\n")


class _ShuffledLines:
    """Lines kept in a file until all are there, then written in an order drawn by seed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._ends = file, array("q", [0])

    def add(self, line: str) -> None:
        self._ends.append(self._ends[-1] + self._file.write(line.encode() + b"\n"))

    def write(self, path: Path, seed: int) -> None:
        self._file.flush()
        order = array("I", range(len(self._ends) - 1))
        random.Random(seed).shuffle(order)
        number = self._file.fileno()
        with path.open("wb") as file:
            for at in order:
                file.write(os.pread(number, self._ends[at + 1] - self._ends[at], self._ends[at]))


class _RowsFile:
    """rows.parquet, written some thousand rows at a time."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields = [
            *((name, pa.string()) for name in _TEXTS),
            *((name, pa.list_(pa.string())) for name in _LISTS),
        ]
        self._schema, self._batch = pa.schema(fields), list[dict[str, Any]]()
        self._chars = 0
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def add(self, row: dict[str, Any]) -> None:
        self._batch.append(row)
        self._chars += len(row["messages"])
        if len(self._batch) >= _ROWS_AT_ONCE or self._chars >= _CHARS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        columns = {name: [row[name] for row in self._batch] for name in self._schema.names}
        self._writer.write_table(pa.table(columns, schema=self._schema))
        self._batch, self._chars = [], 0

    def close(self) -> None:
        self._flush()
        self._writer.close()


def row_of(sample: Sample, split: str, group: str, source: str | None = None) -> dict[str, Any]:
    """A sample as its row in rows.parquet: the columns that tables are made of, and all of its parts.

    text: what the user said last; label: the right answer, empty without one. group: what the split kept
    together; own_group: the group that the source gives it. messages, tools and tags are JSON, the other
    parts lists of texts.
    """
    return {
        "text": sample.question,
        "label": sample.answer or "",
        "domain": sample.tags.get("domain"),
        "split": split,
        "group": group,
        "own_group": sample.group,
        "source": source,
        "id": sample.id,
        "messages": _json(sample.messages),
        "tools": _json(sample.tools) if sample.tools else "[]",
        "tags": _json(sample.tags) if sample.tags else "{}",
        "targets": sample.targets,
        "choices": sample.choices,
        "contexts": sample.contexts,
        "rejected": sample.rejected,
    }


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample of a row that `row_of` gave."""
    said = {name: json.loads(row[name]) for name in _JSON}
    return Sample(
        row["id"],
        tuple(said["messages"]),
        tuple(row["targets"]),
        tuple(row["choices"]),
        tuple(row["contexts"]),
        tuple(said["tools"]),
        said["tags"],
        row["own_group"],
        tuple(row["rejected"]),
    )


def write_samples(folder: Path, samples: Iterable[Sample], split: str, report: Mapping[str, Any]) -> None:
    """Put samples of one split, and a report.json, into a folder; each its own group unless it has one."""
    with DatasetWriter(folder, seed=0) as writer:
        for sample in samples:
            writer.add(sample, split, sample.group or sample.id)
    write_report(folder, report)


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Put report.json into a dataset's folder."""
    text = json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")


def dataset_samples(dataset: Artifact, *splits: str) -> Iterator[Sample]:
    """The samples of a dataset, of the named splits or of all, a few in memory at a time.

    A dataset of labelled texts alone, as earlier versions wrote it, gives samples of one turn.
    """
    return (sample_of(row) for row in dataset_rows(dataset, *splits))


def dataset_rows(dataset: Artifact, *splits: str) -> Iterator[dict[str, Any]]:
    """The rows of a dataset, as `row_of` gives them."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(dataset.path / ROWS) as file:
        plain = "messages" not in file.schema_arrow.names
        number = 0
        for batch in file.iter_batches(_ROWS_READ_AT_ONCE):
            for row in batch.to_pylist():
                number += 1
                if "own_group" not in row:
                    row["own_group"] = _own_group(row)
                if not splits or row["split"] in splits:
                    yield _with_parts(row, number) if plain else row


def _own_group(row: Mapping[str, Any]) -> str | None:
    """The source's group of a row that an earlier version wrote: only golden rows kept theirs."""
    group = row.get("group")
    return group if row["split"] == GOLDEN and group != row.get("id") else None


def _with_parts(row: dict[str, Any], number: int) -> dict[str, Any]:
    tags = {} if row.get("domain") is None else {"domain": row["domain"]}
    sample = Sample.of(f"row:{number}", row["text"], row["label"], tags=tags)
    return {**row_of(sample, row["split"], row.get("group") or f"row:{number}"), **row}


def training_rows(dataset: Artifact) -> list[tuple[str, str]]:
    """(text, label) of each row a model was trained on."""
    import polars as pl

    rows = pl.read_parquet(dataset.path / ROWS, columns=["text", "label", "split"])
    return list(rows.filter(pl.col("split") == TRAIN).select("text", "label").iter_rows())
