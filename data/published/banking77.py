"""BANKING77: 77 intents of a bank's customers, 10,003 / 3,080 queries (Casanueva et al., NLP4ConvAI 2020)."""

from __future__ import annotations

import csv
from pathlib import Path

from ...core.errors import AskError
from ..rows import Row
from ..sample import Task
from . import as_text, check_split, shipped_folder

TASK: Task = "classify"
FOLDER = shipped_folder("banking77")
FILES = ("train.csv", "test.csv", "categories.json")
SPLITS = ("train", "test")


def read_rows(folder: Path, split: str) -> list[Row]:
    """The rows of one split, in the file's order; AskError for a missing or damaged file."""
    check_split(split, SPLITS, folder)
    path = folder / f"{split}.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [Row(as_text(row["text"]), as_text(row["category"]), None) for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise AskError(f"no {path.name} in {folder}: the BANKING77 layout needs it.") from None
    except (KeyError, TypeError, csv.Error, UnicodeDecodeError) as error:
        raise AskError(
            f"{path} is not in the BANKING77 layout ({type(error).__name__}: {error}). It needs the columns "
            "'text' and 'category'."
        ) from error
