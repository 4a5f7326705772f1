"""What was spent, by whom, on what: folded from the ledger alone.

A step's spending is charged to who proposed its run, for they asked for it; consent costs its giver nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from .index import Criteria, LedgerIndex
from .ledger import Ledger, Phase, Record
from .records import PLANNING
from .run_state import AMOUNTS

if TYPE_CHECKING:
    from ..core.workspace import Workspace

SpendKey = Literal["person", "skill", "endpoint", "month", "run"]
SPEND_KEYS: tuple[SpendKey, ...] = get_args(SpendKey)
NO_ENDPOINT = "none"
_OVER = ("done", "denied", "refused")
_NONE: Mapping[tuple[str, str], Mapping[str, float]] = {}
_LONGEST_MESSAGE = timedelta(hours=1)  # that a planner may think of; what it held then is settled, or cut
LOOK_BACK = timedelta(days=31)
"""An attempt that was reserved so long before a month, and is not settled, counts in it too."""


@dataclass(frozen=True)
class Spent:
    """One attempt of a step: what it took, or, while `is_open`, what is reserved for it.

    seq, time: of the record that settled it, or reserved it. amounts: minutes, gpu_hours, usd and tokens.
    """

    seq: int
    time: datetime
    run: str
    step: str
    skill: str
    person: str
    endpoint: str | None
    amounts: Mapping[str, float]
    is_open: bool = False

    @property
    def month(self) -> str:
        """Its month in UTC, as 2026-11."""
        return f"{self.time.astimezone(UTC):%Y-%m}"

    def name(self, by: SpendKey) -> str:
        """What it is added up under."""
        names = {"person": self.person, "skill": self.skill, "month": self.month, "run": self.run}
        return names.get(by, self.endpoint or NO_ENDPOINT)


@dataclass
class SpendBook:
    """The spending of every run, taken from the ledger's records in order.

    proposer_of: who proposed a run whose proposal lies before the first record that is taken in.
    """

    proposer_of: Callable[[str], str | None] = lambda run: None
    settled: list[Spent] = field(default_factory=list)
    open: dict[tuple[str, str], Spent] = field(default_factory=dict)
    seq: int = 0  # the last record that was taken in
    _people: dict[str, str] = field(default_factory=dict)
    _endpoints: dict[tuple[str, str], str] = field(default_factory=dict)

    def take_in(self, records: Iterable[Record]) -> SpendBook:
        """Take in the records that follow."""
        for record in records:
            self.apply(record)
        return self

    def apply(self, record: Record) -> None:
        """Take in the next record of the ledger."""
        self.seq = record.seq
        if record.run is None:
            if record.skill == PLANNING:
                self._take_planning(record)
            return
        phase, key = record.phase, (record.run, record.step or "")
        if phase == Phase.PROPOSED:
            self._people.setdefault(record.run, record.actor)
            if (amounts := _amounts(record.detail.get("planning"))) and not _planner(record).get("message"):
                row = self._row(record, amounts, skill=PLANNING)
                self._settle(replace(row, endpoint=_planner(record).get("endpoint") or None))
        elif phase == Phase.RESERVED:
            self.open[key] = self._row(record, _amounts(record.detail.get("reserved")), is_open=True)
        elif phase == Phase.INTENT:
            self._name_endpoint(key, record)
        elif phase == Phase.SETTLED:
            held = self.open.pop(key, None)
            row = self._row(record, _amounts(record.detail.get("spent")))
            if held is not None and row.month < held.month:  # by a clock that was set back meanwhile
                row = replace(row, time=held.time)
            for part in _by_address(row, record.detail.get("endpoints")):
                self._settle(part)
        elif record.step is None and record.detail.get("status") in _OVER:
            self._close(record)

    def _take_planning(self, record: Record) -> None:
        """What a message to a planner holds, or what it took; a proposal it led to repeats that."""
        held, told = record.detail.get("reserved"), _planner(record)
        key = ("", str(record.detail.get("message") or ""))
        amounts = _amounts(held if record.phase == Phase.RESERVED else record.detail.get("planning"))
        endpoint, is_open = told.get("endpoint") or None, record.phase == Phase.RESERVED
        row = Spent(
            record.seq, _time(record), "", "", PLANNING, record.actor, endpoint, amounts, is_open=is_open
        )
        if is_open:
            self.open[key] = row
            return
        before = self.open.pop(key, None)
        if before is not None and row.month < before.month:  # by a clock that was set back meanwhile
            row = replace(row, time=before.time)
        if amounts:
            self._settle(row)

    def charged(
        self, person: str | None, month: str, instead: Mapping[tuple[str, str], Mapping[str, float]] = _NONE
    ) -> dict[str, float]:
        """What counts against a month's budget, of one person or (None) of everybody.

        That is what was settled in that month, or in a later one by a clock that was set back since, and what
        is reserved and not settled. instead: what an open attempt, by run and step, is about to be settled
        with.
        """
        rows = [row for row in self._settled_since(month) if person is None or row.person == person]
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        for key, row in self.open.items():
            since = first - (LOOK_BACK if row.run else _LONGEST_MESSAGE)
            if row.time >= since and (person is None or row.person == person):
                rows.append(replace(row, amounts=instead.get(key, row.amounts)))
        return _sum(rows)

    def people(self, month: str) -> set[str]:
        """Whose runs took or reserved something that counts in a month."""
        return {row.person for row in (*self._settled_since(month), *self.open.values())}

    def _settled_since(self, month: str) -> Iterable[Spent]:
        return (row for row in self.settled if row.month >= month)

    def _settle(self, row: Spent) -> None:
        self.settled.append(row)

    def _close(self, end: Record) -> None:
        """A run that is over settles nothing any more: what is still reserved for it counts as taken."""
        for key in [key for key in self.open if key[0] == end.run]:
            row = self.open.pop(key)
            self._settle(replace(row, seq=end.seq, time=_time(end), is_open=False))

    def _name_endpoint(self, key: tuple[str, str], record: Record) -> None:
        request = record.detail.get("request")
        endpoint = request.get("endpoint") if isinstance(request, Mapping) else None
        if not isinstance(endpoint, str):
            return
        self._endpoints[key] = endpoint
        if (row := self.open.get(key)) is not None:
            self.open[key] = replace(row, endpoint=endpoint)

    def person_of(self, run: str) -> str | None:
        """Who is charged for a run."""
        return self._people.get(run)

    def _row(
        self, record: Record, amounts: dict[str, float], skill: str | None = None, is_open: bool = False
    ) -> Spent:
        run, step = record.run or "", record.step or ""
        person = self._people.get(run)
        if person is None:
            person = self._people[run] = self.proposer_of(run) or record.actor
        endpoint = self._endpoints.get((run, step))
        named = skill or record.skill or ""
        return Spent(record.seq, _time(record), run, step, named, person, endpoint, amounts, is_open)


@dataclass
class MonthTotals(SpendBook):
    """The same spending, of which only sums by person and month are kept: for a walk over a long ledger."""

    _totals: dict[tuple[str, str], Spent] = field(default_factory=dict)

    def _settle(self, row: Spent) -> None:
        known = self._totals.get((row.person, row.month))
        amounts = _sum([row] if known is None else [known, row])
        self._totals[row.person, row.month] = replace(row, amounts=amounts)

    def _settled_since(self, month: str) -> Iterable[Spent]:
        return (row for (_, of), row in self._totals.items() if of >= month)


@dataclass(frozen=True)
class SpendLine:
    """What was spent under one name; `reserved` is held for attempts that are not settled, and on top."""

    name: str
    attempts: int
    spent: Mapping[str, float]
    reserved: Mapping[str, float]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "attempts": self.attempts,
            **{name: round(self.spent.get(name, 0.0), 9) for name in AMOUNTS},
            "reserved": {name: round(self.reserved.get(name, 0.0), 9) for name in AMOUNTS},
        }


@dataclass(frozen=True)
class SpendReport:
    """What was spent in a time, added up by person, skill, endpoint, month or run."""

    by: SpendKey
    since: datetime | None
    until: datetime | None
    lines: tuple[SpendLine, ...]
    total: SpendLine

    def document(self) -> dict[str, Any]:
        """As JSON; a name's amounts are minutes, GPU hours, US dollars and tokens."""
        return {
            "by": self.by,
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "lines": [line.document() for line in self.lines],
            "total": self.total.document(),
        }


def spend_report(
    workspace: Workspace, by: SpendKey = "person", since: str | None = None, until: str | None = None
) -> SpendReport:
    """What was spent from `since` on and before `until` (ISO 8601, UTC without a zone), largest first.

    Months stand in their order. Raises AskError for a time that does not parse, IntegrityError for a damaged
    ledger.
    """
    window = Criteria.of(since=since, until=until)
    book = spend_book(workspace, window)
    rows = [row for row in (*book.settled, *book.open.values()) if _is_within(row.time, window)]
    names: dict[str, list[Spent]] = {}
    for row in rows:
        names.setdefault(row.name(by), []).append(row)
    lines = [_line(name, found) for name, found in names.items()]
    lines.sort(key=_by_name if by == "month" else _by_amount)
    return SpendReport(by, window.first, window.last, tuple(lines), _line("total", rows))


def spend_book(workspace: Workspace, window: Criteria) -> SpendBook:
    """Every record from the window's start on, taken in; what is open from before it is not."""
    index = LedgerIndex.of(workspace)

    def proposer_of(run: str) -> str | None:
        state = index.run_state(run)
        return state.proposer.name if state is not None and state.proposer is not None else None

    after = 0
    if window.first is not None:
        first = next(index.scan(Criteria({}, window.first, None)), None)
        after = first.seq - 1 if first is not None else Ledger.of(workspace).head()[0]
    return SpendBook(proposer_of, seq=after).take_in(Ledger.of(workspace).records(after=after))


def _planner(record: Record) -> Mapping[str, Any]:
    """Who planned, as a record tells it."""
    told = record.detail.get("planner")
    return told if isinstance(told, Mapping) else {}


def _line(name: str, rows: list[Spent]) -> SpendLine:
    settled = [row for row in rows if not row.is_open]
    return SpendLine(
        name, len({row.seq for row in rows}), _sum(settled), _sum(row for row in rows if row.is_open)
    )


def _by_name(line: SpendLine) -> Any:
    return line.name


def _by_amount(line: SpendLine) -> Any:
    return tuple(-line.spent.get(name, 0.0) for name in ("usd", "gpu_hours", "tokens", "minutes")), line.name


def _sum(rows: Iterable[Spent]) -> dict[str, float]:
    total = dict.fromkeys(AMOUNTS, 0.0)
    for row in rows:
        for name, amount in row.amounts.items():
            total[name] += amount
    return total


def _by_address(row: Spent, told: object) -> Iterable[Spent]:
    """The parts of what an attempt took: those at endpoints that it asked, by address, and the rest."""
    rest = dict(row.amounts)
    for address, found in told.items() if isinstance(told, Mapping) else ():
        part = {name: min(amount, rest.get(name, 0.0)) for name, amount in _amounts(found).items()}
        rest |= {name: rest.get(name, 0.0) - amount for name, amount in part.items()}
        yield replace(row, endpoint=str(address), amounts=part)
    yield replace(row, amounts=rest)


def _is_within(time: datetime, window: Criteria) -> bool:
    return (window.first is None or time >= window.first) and (window.last is None or time < window.last)


def _time(record: Record) -> datetime:
    time = datetime.fromisoformat(record.time)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _amounts(found: object) -> dict[str, float]:
    """The known amounts of a recorded cost: finite, not negative, so that no record gives anything back."""
    cost = found if isinstance(found, Mapping) else {}
    known = {name: cost[name] for name in AMOUNTS if type(cost.get(name)) in (int, float)}
    return {name: float(value) for name, value in known.items() if math.isfinite(value) and value >= 0}
