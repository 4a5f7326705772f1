"""Which ledger record stands behind a change of an endpoint."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.contract import Effect
from ..record.ledger import Ledger, Phase, Record
from .steps import idempotency_key


def changes_in_ledger(ledger: Ledger) -> Mapping[str, Record]:
    """The record of each finished step that changed an endpoint, by the idempotency key its skill was given.

    The key is not in the record; it is made again from what is.
    """
    found: dict[str, Record] = {}
    for record in ledger.records():
        if record.phase == Phase.DONE and record.effect == Effect.SERVES and record.step is not None:
            key = idempotency_key(record.run, record.step)
            found.setdefault(key, record)
    return found
