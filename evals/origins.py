"""Where each eval report came from, as the ledger has it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..record.ledger import Phase, Record


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


def origins(records: Iterable[Record]) -> dict[str, Origin]:
    """The origin of each eval report by its reference; a report that was made twice counts the first time.

    A gate's record of what it decided does not name the report: that is in the step's intent.
    """
    found: dict[str, Origin] = {}
    goals: dict[str | None, str] = {}
    asked: dict[tuple[str | None, str | None], str] = {}
    for record in records:
        call = (record.run, record.step)
        if record.phase == Phase.PROPOSED:
            goals[record.run] = str(record.detail.get("goal", ""))
        elif record.phase == Phase.INTENT and record.skill == "gate":
            asked[call] = str(record.detail["request"]["report"])
        elif record.phase == Phase.DONE:
            for ref in record.artifacts.values():
                known = found.get(ref, Origin())
                if ref.startswith("eval-report:") and known.record is None:
                    made = {"run": record.run, "goal": goals.get(record.run) or None}
                    found[ref] = replace(known, **made, record=record.seq, time=record.time)
            if record.skill == "gate" and call in asked:
                decision = str(record.detail["result"]["verdict"]["decision"])
                found[asked[call]] = replace(found.get(asked[call], Origin()), verdict=decision)
    return found
