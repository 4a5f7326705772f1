"""Parts of the record as people read them."""

from __future__ import annotations

from typing import Any

from ....record.ledger import Phase, Record
from ....record.run_state import RunState


def withdrew(state: RunState) -> bool:
    """Whether a release was taken back in it."""
    return any(record.phase == Phase.ROLLED_BACK for record in state.records)


def names_endpoint(state: RunState, endpoint: str) -> bool:
    """Whether a step of it names an endpoint."""
    return any(step.request.get("endpoint") == endpoint for step in state.steps.values())


def denial_words(record: Record) -> str:
    """Who said no, why, and where that stands."""
    why = record.detail.get("why")
    return f"{record.principal} said no" + (f", '{why}'" if why else "") + f" (record {record.seq})"


def row_words(row: Any) -> str:
    """A row of a verdict."""
    return f"{row.get('name')} {row.get('decision')}" + (
        f", got {row['got']:.3f}, bar {row['bar']:.3f}"
        if isinstance(row.get("got"), float) and isinstance(row.get("bar"), float)
        else ""
    )


def amount_words(name: str, value: float) -> str:
    """An amount with its unit."""
    if name == "minutes":
        return f"{value:.1f} minutes"
    return f"{value:.2f} US dollars" if name == "usd" else f"{value:g} {name.replace('_', ' ')}"
