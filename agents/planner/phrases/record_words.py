"""Parts of the record as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ....core.gate import Check
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


def row_words(row: Mapping[str, Any]) -> str:
    """A row of a verdict: its decision, the figures with their unit, and what they mean."""
    try:
        check = Check.model_validate(row)
    except ValidationError:  # of another version
        return f"{row.get('name')} {row.get('decision')}"
    known = check.got is not None and check.bar is not None
    figures = f", got {check.in_words(check.got)}, bar {check.in_words(check.bar)}" if known else ""
    return f"{check.name} {check.decision_in_words}{figures}" + (
        f": {check.message}" if check.message else ""
    )


def amount_words(name: str, value: float) -> str:
    """An amount with its unit."""
    if name == "minutes":
        return f"{value:.1f} minutes"
    return f"{value:.2f} US dollars" if name == "usd" else f"{value:g} {name.replace('_', ' ')}"


def was_refused(run: RunState) -> bool:
    """Whether a person, the policy or a gate said no to it, or what it deployed was taken back."""
    return run.status in ("refused", "denied") or run.verdict in ("NO_GO", "INCONCLUSIVE") or withdrew(run)


def has_failed(run: RunState) -> bool:
    """Whether it broke off by itself."""
    return run.status == "failed"
