"""The suite of CLINC150: its test split, by domain."""

from __future__ import annotations

from dataclasses import replace

from ...data.published.clinc150 import FOLDER, read_out_of_scope, read_rows
from .base import Suite

_SCOPE = "scope"


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


def with_out_of_scope() -> Suite:
    """The test split and 1,000 requests that no intent fits, whose right answer is `oos`."""
    kinds = {"in": ("test", read_rows(FOLDER, "test")), "out": ("oos", read_out_of_scope(FOLDER, "test"))}
    items = (
        replace(row.sample(f"clinc150-{kind}-{number:05d}"), tags={_SCOPE: scope})
        for scope, (kind, rows) in kinds.items()
        for number, row in enumerate(rows)
    )
    return Suite(
        "clinc150_oos",
        tuple(items),
        slice_tags=(_SCOPE,),
        min_items=100,
        summary="The same 150 intents, and requests that none of them fits.",
        licence="CC BY 3.0",
        source="Larson et al., EMNLP 2019",
    )
