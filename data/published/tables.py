"""Tables of published data sets: CSV with a header, or a JSON list of objects."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...core.errors import AskError


def csv_rows(path: Path, *columns: str) -> list[Mapping[str, str]]:
    """The rows of a CSV file; AskError when it is missing or damaged, or a row has not all of the columns."""
    return _rows(path, columns, lambda text: list(csv.DictReader(io.StringIO(text, newline=""), strict=True)))


def json_rows(path: Path, *columns: str) -> list[Mapping[str, Any]]:
    """The objects of a JSON list; AskError when it is missing or damaged, or one has not all of the keys."""
    return _rows(path, columns, json.loads)


def _rows(
    path: Path, columns: tuple[str, ...], read: Callable[[str], list[Mapping[str, Any]]]
) -> list[Mapping[str, Any]]:
    try:
        rows = read(path.read_bytes().decode("utf-8"))
        if not rows or any(row[column] is None for row in rows for column in columns):
            raise ValueError("a row has not every column")
    except FileNotFoundError:
        raise AskError(f"no {path.name} in {path.parent}: the suite is made of it.") from None
    except (ValueError, LookupError, TypeError, csv.Error) as error:
        raise AskError(f"{path} is not in the layout it was published in ({error}).") from error
    return rows
