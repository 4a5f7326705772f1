"""The suite of BANKING77: its test split."""

from __future__ import annotations

from ...data.published.banking77 import FOLDER, read_rows
from .base import Suite


def suite() -> Suite:
    """The test split; it has no domains, so no slices."""
    rows = read_rows(FOLDER, "test")
    return Suite("banking77", tuple(row.sample(f"banking77-test-{i:05d}") for i, row in enumerate(rows)))
