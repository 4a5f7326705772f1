"""Which ledger record stands behind a change of an endpoint."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.contract import Effect
from ..core.files import sha256_json
from ..core.ledger import Ledger, Phase, Record


def changes_in_ledger(ledger: Ledger) -> Mapping[str, Record]:
    """The record of each finished step that changed an endpoint, by the idempotency key its skill was given.

    The key is not in the record; it is made again from what is, as `StepRunner` makes it.
    """
    found: dict[str, Record] = {}
    for record in ledger.records():
        if record.phase == Phase.DONE and record.effect == Effect.SERVES and record.step is not None:
            key = sha256_json([record.run, record.step, record.detail.get("key")])
            found.setdefault(key, record)
    return found
