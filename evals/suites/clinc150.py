"""CLINC150: 150 intents of 10 domains, 15,000 / 3,000 / 4,500 utterances (Larson et al., EMNLP 2019).

The source's out-of-scope utterances are left out: a router without a refusal class cannot get them right.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...core.errors import AskError
from .base import RAW, Item, Row, Suite, check_split, label_text

FOLDER = RAW / "clinc150"
FILES = ("data_full.json", "domains.json")
SPLITS = ("train", "val", "test")

# The example's story: a router knows eight domains, and then its users start to chat.
OLD_DOMAINS = (
    "banking",
    "credit_cards",
    "kitchen_and_dining",
    "home",
    "auto_and_commute",
    "travel",
    "utility",
    "work",
)
NEW_DOMAINS = ("small_talk", "meta")


def read_rows(folder: Path, split: str) -> list[Row]:
    """The in-scope rows of one split, in the file's order; AskError for a missing or damaged file."""
    check_split(split, SPLITS, folder)
    data, domains = (_read_json(folder / name) for name in FILES)
    try:
        domain_of = {intent: domain for domain, intents in domains.items() for intent in intents}
        return [Row(text.strip(), label_text(intent), domain_of.get(intent)) for text, intent in data[split]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AskError(
            f"{folder} is not in the CLINC150 layout ({type(error).__name__}: {error}). data_full.json needs "
            f"'{split}': [[text, intent], ...], domains.json needs domain: [intent, ...]."
        ) from error


def suite() -> Suite:
    """The test split, with the example's old and new domains as groups."""
    rows = read_rows(FOLDER, "test")
    items = tuple(Item(f"clinc150-test-{i:05d}", *row) for i, row in enumerate(rows))
    return Suite("clinc150", items, {"old_domains": OLD_DOMAINS, "new_domains": NEW_DOMAINS})


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise AskError(f"{path.name} not found in {path.parent}: the CLINC150 layout needs it.") from None
    except ValueError as error:
        raise AskError(f"{path} is not valid JSON ({error}). Fetch the file again.") from error
