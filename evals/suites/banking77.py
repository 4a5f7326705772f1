"""The suite of BANKING77: its test split."""

from __future__ import annotations

from ...data.published.banking77 import FOLDER, read_rows
from .base import Sample, Suite


def suite() -> Suite:
    """The test split; it has no domains, so no slices."""
    rows = read_rows(FOLDER, "test")
    return Suite("banking77", tuple(Sample(f"banking77-test-{i:05d}", *row) for i, row in enumerate(rows)))
