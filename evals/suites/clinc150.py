"""The suite of CLINC150: its test split, by domain."""

from __future__ import annotations

from ...data.published.clinc150 import FOLDER, read_rows
from .base import Suite


def suite() -> Suite:
    """The in-scope test split: 4,500 utterances of 150 intents in ten domains."""
    rows = read_rows(FOLDER, "test")
    return Suite(
        "clinc150",
        tuple(row.sample(f"clinc150-test-{i:05d}") for i, row in enumerate(rows)),
        slice_tags=("domain",),
        min_items=100,
        summary="150 intents of short requests in ten domains.",
        licence="CC BY 3.0",
        source="Larson et al., EMNLP 2019",
    )
