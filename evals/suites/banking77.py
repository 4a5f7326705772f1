"""The suite of BANKING77: its test split."""

from __future__ import annotations

from ...data.published.banking77 import FOLDER, read_rows
from .base import Suite


def suite() -> Suite:
    """The test split, 3,080 queries of 77 intents; it has no domains, so no slices."""
    rows = read_rows(FOLDER, "test")
    return Suite(
        "banking77",
        tuple(row.sample(f"banking77-test-{i:05d}") for i, row in enumerate(rows)),
        min_items=100,
        summary="77 intents of a bank's customers.",
        licence="CC BY 4.0",
        source="Casanueva et al., NLP4ConvAI 2020",
    )
