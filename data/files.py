"""Files of rows, read one row at a time: JSONL, JSON, CSV, TSV, Parquet. A fault of one row is that row's."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ..core.errors import AskError, did_you_mean
from .json_items import JsonArray, JsonDecoder
from .rows import Reason

_PIECE_BYTES = 1 << 18
_WHOLE_JSON_BYTES = 64 << 20  # an object that holds its rows in a list is read whole, up to this
_PARQUET_ROWS = 1000
_SEPARATORS = ",;\t|"
_SPACE = b" \t\r\n"


@dataclass(frozen=True)
class RawRow:
    """A row as its file has it: the number there, from 1, and its fields, or why it cannot be read."""

    number: int
    fields: Mapping[str, Any] | None = None
    reason: Reason | None = None
    detail: str = ""
    shown: Any = ""
    lines: int = 1  # of its file, that are lost with a row that cannot be read


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


def read_jsonl(path: Path, most_bytes: int, part: str | None = None) -> Iterator[RawRow]:
    """A row for each line that is not blank."""
    json_of = JsonDecoder()
    for number, line in bounded_lines(path, most_bytes):
        if line is None:
            yield RawRow(number, None, Reason.LINE_TOO_LONG, f"more than {most_bytes} bytes in one line")
        elif line.strip():
            yield _parsed(number, line, json_of)


def _parsed(number: int, line: bytes, json_of: JsonDecoder) -> RawRow:
    try:
        value = json_of.decode(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        return RawRow(number, None, Reason.NOT_UTF8, str(error.reason), repr(line))
    except (ValueError, RecursionError) as error:
        return RawRow(number, None, Reason.NOT_JSON, str(error), line.decode(errors="replace"))
    return _row(number, value, json_of.twice)


def _row(number: int, value: Any, twice: str | None) -> RawRow:
    if twice is not None:
        return RawRow(number, None, Reason.DUPLICATE_FIELD, f"'{twice}' is given twice", value)
    if isinstance(value, dict):
        return RawRow(number, value)
    return RawRow(number, None, Reason.WRONG_TYPE, f"{type(value).__name__}, not an object", value)


def read_json(path: Path, most_bytes: int, part: str | None = None) -> Iterator[RawRow]:
    """The objects of a file that is one JSON array, or of the one list that a JSON object holds.

    part: the name of the list, where the object holds several. An array is read piece by piece; an object
    must fit into 64 MiB.
    """
    with path.open("rb") as file:
        head = file.read(_PIECE_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)
    if not head.startswith(b"["):
        yield from _read_json_object(path, part)
        return
    with path.open("rb") as file:
        for number, item in enumerate(JsonArray(path, file, most_bytes), 1):
            if item.chars > most_bytes:
                why = f"more than {most_bytes} characters in one row"
                yield RawRow(number, None, Reason.LINE_TOO_LONG, why)
            else:
                yield _row(number, item.value, item.twice)


def _read_json_object(path: Path, part: str | None) -> Iterator[RawRow]:
    """The rows of {"name": [{...}, ...]}, of several such lists the one that is asked for."""
    if path.stat().st_size > _WHOLE_JSON_BYTES:
        raise AskError(f"{path} is one JSON object of more than 64 MiB. Write its rows as JSONL.")
    json_of = JsonDecoder()
    try:
        value = json_of.decode(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise AskError(
            f"{path} is not JSON ({error}). If each line is an object, give layout=jsonl or name it .jsonl."
        ) from error
    if json_of.twice is not None:
        raise AskError(f"{path} gives '{json_of.twice}' twice in one object. Give it once.")
    held = value if isinstance(value, dict) else {}
    lists = {name: rows for name, rows in held.items() if isinstance(rows, list) and rows}
    lists = {name: rows for name, rows in lists.items() if all(isinstance(row, dict) for row in rows)}
    if part is not None and part not in lists:
        raise AskError(
            f"split '{part}' is not in {path} (it has: {', '.join(lists)}).{did_you_mean(part, lists)}"
        )
    if part is None and len(lists) != 1:
        what = f"the lists {', '.join(lists)}: name one as split" if lists else "no list of objects"
        raise AskError(f"{path} is one JSON object with {what}. Rows are read from a list of objects.")
    for number, row in enumerate(lists[part] if part else next(iter(lists.values())), 1):
        yield RawRow(number, row)


def read_csv(path: Path, most_bytes: int, part: str | None = None) -> Iterator[RawRow]:
    """A row for each record under the header; an empty cell is None."""
    lines = _Lines(_csv_lines(path, most_bytes))
    csv.field_size_limit(most_bytes)
    number = 0
    try:
        first = next(lines, "")
        separator = "\t" if path.suffix == ".tsv" else _separator(first)
        reader = csv.reader(chain([first], lines), delimiter=separator)
        header = next(reader, None)
        if not header or not any(name.strip() for name in header):
            raise AskError(f"{path} has no header line. Its first line must name the columns.")
        twice = [name for name, times in Counter(filter(None, header)).items() if times > 1]
        if twice:
            raise AskError(f"{path} has two columns '{min(twice)}'. Give each a name of its own.")
        number = reader.line_num
        for cells in reader:
            before, number = number, reader.line_num
            if not cells:
                continue
            if lines.ended or len(cells) != len(header):
                detail, taken = f"{len(cells)} cells under {len(header)} columns", number - before
                if taken > 1:
                    detail += f"; a quote in line {before + 1} takes in the {taken - 1} lines after it"
                if lines.ended:
                    detail += "; it is never closed"
                yield RawRow(number, None, Reason.WRONG_TYPE, detail, separator.join(cells), taken)
                continue
            yield RawRow(number, {n: c or None for n, c in zip(header, cells, strict=True) if n})
    except csv.Error as error:
        raise AskError(
            f"{path}, line {number + 1} or later: {error}. A quote that is never closed does this."
        ) from error


class _Lines(Iterator[str]):
    """Lines, and whether more were asked for than there are, as a row does whose quote is open at the end."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.ended = lines, False

    def __next__(self) -> str:
        try:
            return next(self._lines)
        except StopIteration:
            self.ended = True
            raise


def _separator(header: str) -> str:
    """The first usual separator that the header line holds outside quotes."""
    outside = "".join(header.split('"')[::2])
    return next((one for one in _SEPARATORS if one in outside), ",")


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


def read_parquet(path: Path, most_bytes: int, part: str | None = None) -> Iterator[RawRow]:
    """A row for each row, read a thousand at a time; class labels kept as numbers get their names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = _class_names(file.schema_arrow.metadata or {})
            batches = (batch.to_pylist() for batch in file.iter_batches(_PARQUET_ROWS))
            for number, fields in enumerate(chain.from_iterable(batches), 1):
                yield _bounded(number, _with_names(fields, names), most_bytes)
    except (pa.ArrowException, OSError) as error:
        raise AskError(f"cannot read {path} as Parquet ({error}). Check how it was made.") from error


def _with_names(fields: dict[str, Any], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The row with the names of its class labels in place of their numbers."""
    for column, of_class in names.items():
        value = fields.get(column)
        if isinstance(value, int) and 0 <= value < len(of_class):
            fields[column] = of_class[value]
    return fields


def _bounded(number: int, fields: Mapping[str, Any], most_bytes: int) -> RawRow:
    for value in fields.values():
        if isinstance(value, str) and len(value) > most_bytes:
            return RawRow(number, None, Reason.LINE_TOO_LONG, f"more than {most_bytes} characters", value)
    return RawRow(number, fields)


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of class labels, as the `datasets` library writes them into a Parquet file's metadata."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
