"""Where each eval report came from, as the ledger has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..record.index import LedgerIndex, Link


@dataclass(frozen=True)
class Origin:
    """What made a report: the run, its plan's goal, the ledger's record and time; None where it is not known.

    `verdict` is the last gate decision on the report.
    """

    run: str | None = None
    goal: str | None = None
    record: int | None = None
    time: str | None = None
    verdict: str | None = None


def origins(index: LedgerIndex, reports: Sequence[str]) -> dict[str, Origin]:
    """The origin of each eval report by its reference; a report that was made twice counts the first time.

    A report that no record made or judged is left out.
    """
    found: dict[str, Origin] = {}
    for ref, (record, *_) in index.linked(reports, Link.MADE).items():
        run = index.row(record.run) if record.run is not None else None
        found[ref] = Origin(record.run, run.goal if run else None, record.seq, record.time)
    for ref, records in index.linked(reports, Link.JUDGED).items():
        decided = [r.detail["result"]["verdict"]["decision"] for r in records if r.skill == "gate"]
        if decided:
            found[ref] = replace(found.get(ref, Origin()), verdict=str(decided[-1]))
    return found
