"""Reads sources of every layout: a fault of one row drops the row, a fault of all is an error."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..core.errors import AskError, did_you_mean
from .published import banking77, clinc150
from .rows import Gathered, Reason

TEXT_COLUMN, LABEL_COLUMN = "text", "label"


class Layout(StrEnum):
    """How a source lies on disk."""

    AUTO = "auto"
    CLINC150 = "clinc150"
    BANKING77 = "banking77"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True)
class Source:
    """Labelled texts somewhere: where they lie, in which layout, and which fields hold what.

    `split`: of a published data set, by default train. `max_line_bytes`: a longer line is left out (in CSV:
    refused) without reading it whole.
    """

    path: Path
    layout: Layout = Layout.AUTO
    split: str | None = None
    text_column: str = TEXT_COLUMN
    label_column: str = LABEL_COLUMN
    domain_column: str | None = None
    group_column: str | None = None
    max_line_bytes: int = 1_000_000


_ENDINGS = {
    ".jsonl": Layout.JSONL,
    ".ndjson": Layout.JSONL,
    ".csv": Layout.CSV,
    ".tsv": Layout.CSV,
    ".parquet": Layout.PARQUET,
}
_PUBLISHED = {Layout.CLINC150: clinc150, Layout.BANKING77: banking77}
_PIECE_BYTES = 1 << 18
_PROMPTED = ("prompt", "completion")


def read_source(source: Source) -> Gathered:
    """Every row of the source; AskError when it is missing, empty, or not what it is said to be."""
    layout = find_layout(source)
    gathered = Gathered()
    if layout in _PUBLISHED:
        split = source.split or "train"
        for number, row in enumerate(_PUBLISHED[layout].read_rows(source.path, split), 1):
            gathered.take(f"{layout}/{split}", number, row.text, row.label, row.domain)
    else:
        for path in _files(source.path, layout):
            _READERS[layout](path, source, gathered)
    if not gathered.text:
        raise AskError(f"{source.path} gives no usable row{_why(gathered)}")
    return gathered


def check_source(source: Source) -> Layout:
    """The layout that would be read, without reading; AskError when nothing is there or it cannot be told."""
    layout = find_layout(source)
    if layout not in _PUBLISHED:
        _files(source.path, layout)
    return layout


def find_layout(source: Source) -> Layout:
    """The layout to read; AskError when there is nothing there or it cannot be told."""
    path = source.path
    if not path.exists():
        near = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise AskError(f"no file or folder at {path}.{did_you_mean(path.name, near)}")
    layout = _guess(path) if source.layout is Layout.AUTO else source.layout
    if layout in _PUBLISHED:
        names = _PUBLISHED[layout].FILES
        if not path.is_dir() or not all((path / name).is_file() for name in names):
            raise AskError(f"layout {layout} is a folder with {', '.join(names)}; {path} is not.")
    elif source.split is not None:
        raise AskError(
            f"split '{source.split}': only {' and '.join(_PUBLISHED)} have splits; {path} is {layout}: "
            "name the file of the split as the source."
        )
    return layout


def _guess(source: Path) -> Layout:
    if source.is_file():
        if source.suffix in _ENDINGS:
            return _ENDINGS[source.suffix]
        raise AskError(f"cannot tell the layout of {source.name}. Give layout=jsonl, csv or parquet.")
    if found := _published_in(source):
        return found
    kinds = {_ENDINGS[path.suffix] for path in source.iterdir() if path.suffix in _ENDINGS}
    if len(kinds) == 1:
        return kinds.pop()
    inside = [path.name for path in sorted(source.iterdir()) if path.is_dir() and _published_in(path)]
    hint = f" Name one of its folders: {', '.join(inside)}." if inside else " Give the layout, or one file."
    raise AskError(f"cannot tell the layout of the folder {source}.{hint}")


def _published_in(folder: Path) -> Layout | None:
    for layout, published in _PUBLISHED.items():
        if all((folder / name).is_file() for name in published.FILES):
            return layout
    return None


def _files(source: Path, layout: Layout) -> list[Path]:
    """The files of a flat layout, by name; AskError for none or an empty one."""
    files = [source]
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if _ENDINGS.get(path.suffix) is layout)
    if not files:
        raise AskError(f"{source} holds no {layout} file.")
    for path in files:
        if path.stat().st_size == 0:
            raise AskError(f"{path} is empty (0 bytes). Check how it was made.")
    return files


def bounded_lines(path: Path, most: int) -> Iterator[tuple[int, bytes | None]]:
    """Each line with its number from 1; None for a line of more than `most` bytes, skipped in pieces."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(most + 1):
            number += 1
            if len(line) <= most or line.endswith(b"\n"):
                yield number, line
                continue
            yield number, None
            while (piece := file.read(_PIECE_BYTES)) and b"\n" not in piece:
                pass
            file.seek(piece.find(b"\n") + 1 - len(piece) if piece else 0, os.SEEK_CUR)


def _read_jsonl(path: Path, source: Source, gathered: Gathered) -> None:
    seen_keys: dict[str, None] = {}
    for number, line in bounded_lines(path, source.max_line_bytes):
        if line is None:
            detail = f"more than {source.max_line_bytes} bytes in one line"
            gathered.leave(path.name, number, Reason.LINE_TOO_LONG, detail)
            continue
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            gathered.leave(path.name, number, Reason.NOT_UTF8, str(error.reason), repr(line[:200]))
            continue
        except (ValueError, RecursionError) as error:
            gathered.leave(path.name, number, Reason.NOT_JSON, str(error), line.decode(errors="replace"))
            continue
        _take_object(path, number, value, source, gathered)
        if isinstance(value, dict):
            seen_keys.update(dict.fromkeys(value))
    for column in _pair(source, seen_keys):
        if not gathered.text and seen_keys and column not in seen_keys:
            raise _no_column(path, column, list(seen_keys))


def _pair(source: Source, names: Container[str]) -> tuple[str, str]:
    """The fields of text and label: those asked for, or `prompt` and `completion` where only they are."""
    asked = (source.text_column, source.label_column)
    usual = (TEXT_COLUMN, LABEL_COLUMN)
    if asked == usual and not any(name in names for name in asked) and all(n in names for n in _PROMPTED):
        return _PROMPTED
    return asked


def _take_object(path: Path, number: int, value: Any, source: Source, gathered: Gathered) -> None:
    """A row as {text, label, ...}, or as a chat of one user and one assistant message."""
    if not isinstance(value, dict):
        gathered.leave(path.name, number, Reason.WRONG_TYPE, f"{type(value).__name__}, not an object", value)
        return
    optional = [value.get(name) if name else None for name in (source.domain_column, source.group_column)]
    columns = _pair(source, value)
    taken = {*columns, source.domain_column, source.group_column}
    if "messages" in value and source.text_column not in value:
        turns = value["messages"]
        pair = [(turn.get("role"), turn.get("content")) for turn in turns] if _is_chat(turns) else []
        if [role for role, _ in pair] != ["user", "assistant"]:
            detail = "messages must be one of user and one of assistant"
            gathered.leave(path.name, number, Reason.WRONG_TYPE, detail, turns)
            return
        took = gathered.take(path.name, number, pair[0][1], pair[1][1], *optional)
        extra = [f"messages.{name}" for turn in turns for name in _held(turn, ("role", "content"))]
        taken = {"messages", source.domain_column, source.group_column}
    else:
        for column in columns:
            if column not in value:
                gathered.leave(path.name, number, Reason.MISSING_FIELD, f"no '{column}'", value)
                return
        took = gathered.take(path.name, number, value[columns[0]], value[columns[1]], *optional)
        extra = []
    if took:
        gathered.leave_fields([*_held(value, taken), *dict.fromkeys(extra)])


def _held(value: Mapping[str, Any], taken: Container[str | None]) -> list[str]:
    """The other fields of an object, as far as they hold anything."""
    return [name for name, held in value.items() if name not in taken and held not in (None, "", [], {})]


def _is_chat(turns: Any) -> bool:
    return isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns)


def _read_csv(path: Path, source: Source, gathered: Gathered) -> None:
    reader = csv.reader(
        _csv_lines(path, source.max_line_bytes), delimiter="\t" if path.suffix == ".tsv" else ","
    )
    csv.field_size_limit(source.max_line_bytes)
    try:
        header = next(reader, None)
        if not header:
            raise AskError(f"{path} has no header line. Its first line must name the columns.")
        at = _positions(path, header, source)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                detail = f"{len(cells)} cells under {len(header)} columns"
                gathered.leave(path.name, reader.line_num, Reason.WRONG_TYPE, detail, ",".join(cells))
                continue
            if gathered.take(path.name, reader.line_num, *(None if i is None else cells[i] for i in at)):
                gathered.leave_fields(header[i] for i, cell in enumerate(cells) if cell and i not in at)
    except csv.Error as error:
        raise AskError(
            f"{path}, line {reader.line_num}: {error}. A quote that is never closed does this."
        ) from error


def _csv_lines(path: Path, most: int) -> Iterator[str]:
    for number, line in bounded_lines(path, most):
        if line is None:
            raise AskError(
                f"{path}, line {number}: more than {most} bytes in one line, so rows cannot be told apart. "
                "Mend the file, or raise max_line_bytes."
            )
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise AskError(
                f"{path}, line {number} is not UTF-8 ({error.reason}). Convert the file."
            ) from error


def _positions(path: Path, header: list[str], source: Source) -> list[int | None]:
    """Where text, label, domain and group stand in a line."""
    places: list[int | None] = []
    for column in (*_pair(source, header), source.domain_column, source.group_column):
        if column is not None and column not in header:
            raise _no_column(path, column, header)
        places.append(None if column is None else header.index(column))
    return places


def _read_parquet(path: Path, source: Source, gathered: Gathered) -> None:
    import polars as pl

    try:
        schema = pl.read_parquet_schema(path)
        wanted: Sequence[str | None] = (*_pair(source, schema), source.domain_column, source.group_column)
        for column in wanted:
            if column is not None and column not in schema:
                raise _no_column(path, column, list(schema))
        for column in wanted[:2]:
            if schema[str(column)] not in (pl.String, pl.Categorical):
                raise AskError(f"column '{column}' of {path} holds {schema[str(column)]}, not strings.")
        frame = pl.read_parquet(path, columns=sorted({column for column in wanted if column is not None}))
        others = pl.scan_parquet(path).select(pl.exclude(frame.columns).count()).collect()
    except pl.exceptions.PolarsError as error:
        raise AskError(f"cannot read {path} as Parquet ({error}). Check how it was made.") from error
    for name in others.columns:
        if others[name][0]:
            gathered.unused[name] += int(others[name][0])
    columns = [[None] * len(frame) if column is None else frame[column].to_list() for column in wanted]
    for number, (text, label, domain, tied) in enumerate(zip(*columns, strict=True), 1):
        if isinstance(text, str) and len(text) > source.max_line_bytes:
            detail = f"more than {source.max_line_bytes} characters"
            gathered.leave(path.name, number, Reason.LINE_TOO_LONG, detail, text, label)
        else:
            gathered.take(path.name, number, text, label, domain, tied)


def _no_column(path: Path, column: str, found: list[str]) -> AskError:
    return AskError(
        f"{path} has no column '{column}' (it has: {', '.join(found[:30])}).{did_you_mean(column, found)} "
        "Name it with text_column or label_column."
    )


def _why(gathered: Gathered) -> str:
    if not gathered.dropped:
        return "."
    first = gathered.dropped[0]
    why = f"{first.reason} {first.detail}".rstrip()
    return f": all {len(gathered.dropped)} were left out. The first, row {first.row}: {why}."


_READERS = {Layout.JSONL: _read_jsonl, Layout.CSV: _read_csv, Layout.PARQUET: _read_parquet}
