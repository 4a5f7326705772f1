"""CLINC150: 150 intents of 10 domains, 15,000 / 3,000 / 4,500 utterances (Larson et al., EMNLP 2019).

The source's out-of-scope utterances stand by themselves: a router without a refusal class cannot get them
right.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...core.errors import AskError
from ..rows import Row
from ..sample import Task
from . import as_text, check_split, shipped_folder

TASK: Task = "classify"
FOLDER = shipped_folder("clinc150")
FILES = ("data_full.json", "domains.json")
SPLITS = ("train", "val", "test")


def read_rows(folder: Path, split: str) -> list[Row]:
    """The in-scope rows of one split, in the file's order; AskError for a missing or damaged file."""
    check_split(split, SPLITS, folder)
    return _rows(folder, split)


def read_out_of_scope(folder: Path, split: str) -> list[Row]:
    """The utterances of one split that no intent fits, labelled `oos`; AskError as for `read_rows`."""
    check_split(split, SPLITS, folder)
    return _rows(folder, f"oos_{split}")


def _rows(folder: Path, name: str) -> list[Row]:
    data, domains = (_read_json(folder / file) for file in FILES)
    try:
        domain_of = {intent: domain for domain, intents in domains.items() for intent in intents}
        return [Row(as_text(text), as_text(intent), domain_of.get(intent)) for text, intent in data[name]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AskError(
            f"{folder} is not in the CLINC150 layout ({type(error).__name__}: {error}). data_full.json needs "
            f"'{name}': [[text, intent], ...], domains.json needs domain: [intent, ...]."
        ) from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise AskError(f"no {path.name} in {path.parent}: the CLINC150 layout needs it.") from None
    except ValueError as error:
        raise AskError(f"{path} is not JSON ({error}). Fetch the file again.") from error
