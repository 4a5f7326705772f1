"""What of the ledger is told: each event named by the record it follows from, no text that a user wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ...core.exit_code import ExitCode
from ...core.files import sha256_json
from ...core.settings.notifications import EventName
from ...record.ledger import Phase, Record
from ...record.run_state import RunState
from ..policy import Policy


@dataclass(frozen=True)
class Notification:
    """One thing that happened. Its id follows from the record alone: told twice, it is known again by it."""

    id: str
    event: EventName | Literal["test"]
    time: str
    data: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """The body of the message: names, numbers and digests only."""
        return {"type": f"opswright.{self.event}", "timestamp": self.time, "data": dict(self.data)}


def notifications_of(record: Record, run: RunState | None) -> Iterator[Notification]:
    """What a record gives cause to tell; `run` is its run as it stands now."""
    if record.step is None and run is not None:
        if record.phase == Phase.PROPOSED and run.status == "waiting":
            yield _of(record, "waiting", effect=record.effect)
        elif record.phase == Phase.APPROVED:
            yield _of(record, "approved")
        elif record.phase == Phase.DENIED:
            yield _of(record, "denied")
        elif record.phase == Phase.FAILED and record.detail.get("exit_code") == ExitCode.BUDGET:
            yield _of(record, "budget")
    elif record.phase == Phase.ROLLED_BACK:
        yield _of(record, "alarm", reason="rolled_back", endpoint=_text(_result(record).get("endpoint")))
    elif record.phase == Phase.DONE:
        yield from _of_result(record, _result(record))


def may_tell(record: Record) -> bool:
    """Whether what is told of a record depends on its run."""
    return record.step is None


def expired(run: RunState, policy: Policy, now: datetime) -> Iterator[Notification]:
    """The approvals of a run that is not over whose time has passed."""
    if run.is_over:
        return
    for one in run.approvals:
        until = policy.lapses(one)
        if until is None or now <= until:
            continue
        record = next(found for found in run.records if found.seq == one.seq)
        yield _of(record, "expired", lapsed=until.astimezone(UTC).isoformat(timespec="seconds"))


def _of_result(record: Record, result: Mapping[str, Any]) -> Iterator[Notification]:
    verdict = result.get("verdict")
    if isinstance(verdict, Mapping) and isinstance(verdict.get("decision"), str):
        yield _of(record, "verdict", decision=verdict["decision"])
    if result.get("alarm") is True:
        yield _of(record, "alarm", reason="drift", endpoint=_text(result.get("endpoint")))
    elif result.get("canary_now") == "withdrawn":
        yield _of(record, "alarm", reason="canary_withdrawn", endpoint=_text(result.get("endpoint")))


def _of(record: Record, event: EventName, **more: Any) -> Notification:
    data = {
        "run": record.run,
        "plan": record.plan,
        "step": record.step,
        "skill": record.skill,
        "actor": record.actor,
        "record": record.seq,
        "record_hash": record.hash,
        **more,
    }
    known = {name: value for name, value in data.items() if value is not None}
    return Notification(f"msg_{sha256_json([record.hash, event])[:32]}", event, record.time, known)


def _result(record: Record) -> Mapping[str, Any]:
    found = record.detail.get("result")
    return found if isinstance(found, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def trial_message() -> Notification:
    """A message that says nothing but that messages come through."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return Notification(f"msg_{sha256_json(['test', now])[:32]}", "test", now, {})
