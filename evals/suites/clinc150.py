"""The suite of CLINC150: its test split, ten domains, and the two groups of the example's story."""

from __future__ import annotations

from ...data.published.clinc150 import FOLDER, read_rows
from .base import Suite

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


def suite() -> Suite:
    """The test split, with the example's old and new domains as groups."""
    rows = read_rows(FOLDER, "test")
    items = tuple(row.sample(f"clinc150-test-{i:05d}") for i, row in enumerate(rows))
    return Suite("clinc150", items, {"old_domains": OLD_DOMAINS, "new_domains": NEW_DOMAINS})
