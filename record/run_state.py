"""What happened to a run, folded from its ledger records: the one truth that everybody reads.

`RunState.apply` takes a run's records in order and depends on nothing else. The agent, the command line, the
console, the MLflow mirror and the audit all read runs through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ..core.contract import JobHandle
from ..core.gate import Decision
from ..core.principal import Principal
from .ledger import Phase, Record

OUTCOMES = frozenset({Phase.DONE, Phase.FAILED, Phase.REUSED, Phase.ROLLED_BACK, Phase.DENIED})
FINISHED = frozenset({Phase.DONE, Phase.REUSED, Phase.ROLLED_BACK})
_BOOKKEEPING = frozenset({Phase.RESERVED, Phase.SUBMITTED, Phase.SETTLED})
CUT_SHORT = "cut short"  # how an attempt was settled that no process brought to an end
AMOUNTS = ("minutes", "gpu_hours", "usd", "tokens")


@dataclass(frozen=True)
class Approval:
    """One principal's consent to one plan: the record that holds it, and when it was given.

    earliest, latest: of the times that the run's records since then have; a clock that is set back, or that
    was ahead when consent was given, makes it no younger.
    """

    seq: int
    principal: Principal
    plan: str
    time: datetime
    how: str
    earliest: datetime | None = None
    latest: datetime | None = None

    def seen_at(self, time: datetime) -> Approval:
        """The same, once a later record of the run has that time."""
        earliest, latest = min(self.since, time), max(self.latest or self.time, time)
        return replace(self, earliest=earliest, latest=latest)

    @property
    def since(self) -> datetime:
        """Since when it counts: when it was given, or when the first clock since then says that it is."""
        return self.earliest or self.time


@dataclass
class StepState:
    """One step of a run: `number` is its place in the plan, from 1; `records` are all but bookkeeping."""

    id: str
    number: int
    skill: str
    effect: str
    records: list[Record] = field(default_factory=list)
    reserved: dict[str, float] = field(default_factory=dict)  # of the attempt that is open, by amount
    job: JobHandle | None = None  # submitted by an attempt that has no outcome of its own
    _is_cut: bool = False  # the newest attempt was settled as cut short

    def apply(self, record: Record) -> None:
        """Take in the step's next record."""
        if record.phase == Phase.RESERVED:
            self.reserved = _amounts(record.detail.get("reserved"))
        elif record.phase == Phase.SETTLED:
            self.reserved = {}
            self._is_cut = record.detail.get("how") == CUT_SHORT
        elif record.phase == Phase.SUBMITTED:
            self.job = JobHandle.model_validate(record.detail["job"])
        if record.phase in _BOOKKEEPING:
            return
        self.records.append(record)
        if record.phase == Phase.INTENT:
            self._is_cut = False
        elif record.phase in FINISHED or (record.phase in OUTCOMES and not self._is_cut):
            self.job = None  # a refusal to go on with a cut attempt ends nothing: its job may still run

    @property
    def intents(self) -> list[Record]:
        """Each time it was begun; more than one after a crash or a failure."""
        return [record for record in self.records if record.phase == Phase.INTENT]

    @property
    def outcome(self) -> Record | None:
        """How it ended, unless it was begun anew since."""
        last = self.records[-1] if self.records else None
        return last if last is not None and last.phase in OUTCOMES else None

    @property
    def is_open(self) -> bool:
        """Whether it was begun and nothing says how that ended."""
        return bool(self.records) and self.records[-1].phase == Phase.INTENT

    @property
    def finished(self) -> Record | None:
        """The record that says it is done; a step is done once."""
        return next((record for record in reversed(self.records) if record.phase in FINISHED), None)

    @property
    def last(self) -> Record:
        """Its newest record, bookkeeping aside."""
        return self.records[-1]

    @property
    def idempotency_key(self) -> str | None:
        """What its skill was told to know a repeated call by; the first attempt's counts for all."""
        return next(
            (r.detail["idempotency_key"] for r in self.intents if "idempotency_key" in r.detail), None
        )

    @property
    def request(self) -> Mapping[str, Any]:
        """What it was asked, as first recorded; empty when it never came to that."""
        return next((r.detail["request"] for r in self.records if "request" in r.detail), {})

    @property
    def result(self) -> Mapping[str, Any]:
        """What it gave; empty until it is done."""
        outcome = self.outcome
        return outcome.detail.get("result", {}) if outcome is not None else {}

    @property
    def verdict(self) -> Mapping[str, Any] | None:
        """A gate's verdict: decision and rows."""
        verdict = self.result.get("verdict")
        known = isinstance(verdict, Mapping) and verdict.get("decision") in set(Decision)
        return verdict if known else None

    @property
    def is_undecided(self) -> bool:
        """Whether it is a gate that could not decide; whatever does more than read is never asked again."""
        verdict = self.verdict
        reads = self.effect == "reads"
        return reads and verdict is not None and verdict["decision"] == Decision.INCONCLUSIVE

    @property
    def error(self) -> Mapping[str, Any]:
        """Family and message of what stopped it; empty when nothing did."""
        outcome = self.outcome
        error = outcome.detail.get("error", {}) if outcome is not None else {}
        return error if isinstance(error, Mapping) else {}


@dataclass
class RunState:
    """One run, as its records tell."""

    run: str
    steps: dict[str, StepState] = field(default_factory=dict)
    approvals: list[Approval] = field(default_factory=list)  # those that stand
    denial: Record | None = None  # the newest refusal or withdrawal, unless an approval came after it
    consent: Record | None = None  # the newest approval or denial
    overruled: dict[str, Record] = field(default_factory=dict)  # who took whose approval back, by whose name
    proposed: Record | None = None
    records: list[Record] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)  # settled so far, by amount

    @classmethod
    def of(cls, run: str, records: Iterable[Record]) -> RunState:
        """The state after these records of the run."""
        state = cls(run)
        for record in records:
            state.apply(record)
        return state

    def apply(self, record: Record) -> RunState:
        """Take in the run's next record."""
        self.records.append(record)
        phase = record.phase
        if self.approvals:
            time = datetime.fromisoformat(record.time)
            self.approvals = [one.seen_at(time) for one in self.approvals]
        if record.step is not None:
            self._step(record).apply(record)
            if phase == Phase.SETTLED:
                for name, amount in _amounts(record.detail.get("spent")).items():
                    self.spent[name] = self.spent.get(name, 0.0) + amount
        elif phase == Phase.PROPOSED:
            self.proposed = record
            for number, step in enumerate(record.detail.get("steps", ()), 1):
                known = StepState(step["id"], number, step["skill"], step["effect"])
                self.steps.setdefault(step["id"], known)
        elif phase == Phase.APPROVED:
            self._approve(record)
        elif phase == Phase.DENIED:
            self.consent = self.denial = record
            for one in self.approvals:
                if one.principal.name != record.principal.name:
                    self.overruled[one.principal.name] = record
            self.approvals.clear()
        return self

    def _approve(self, record: Record) -> None:
        """Count an approval, unless somebody else took an earlier one of the same person back.

        That one may let it count again, by approving; anyone else's approval counts as ever.
        """
        if record.principal.name in self.overruled:
            return
        self.consent, self.denial = record, None
        self.approvals.append(_approval(record))
        lifted = [who for who, by in self.overruled.items() if by.principal.name == record.principal.name]
        for who in lifted:
            del self.overruled[who]

    def _step(self, record: Record) -> StepState:
        name = record.step or ""
        if name not in self.steps:
            self.steps[name] = StepState(name, len(self.steps) + 1, record.skill or "", record.effect or "")
        return self.steps[name]

    @property
    def first(self) -> Record:
        """Its oldest record."""
        return self.records[0]

    @property
    def last(self) -> Record:
        """Its newest record."""
        return self.records[-1]

    @property
    def proposal(self) -> Mapping[str, Any]:
        """Goal, source, gates and steps as they were proposed."""
        return self.proposed.detail if self.proposed is not None else {}

    @property
    def goal(self) -> str:
        """What the run is for."""
        return str(self.proposal.get("goal", "")) or "run"

    @property
    def plan(self) -> str | None:
        """The id of its plan."""
        if self.proposed is not None and self.proposed.plan:
            return self.proposed.plan
        return self.first.plan if self.records else None

    @property
    def proposer(self) -> Principal | None:
        """Who proposed the plan."""
        return self.proposed.principal if self.proposed is not None else None

    @property
    def end(self) -> Record | None:
        """How it ended, unless it was taken up again since."""
        if not self.records:
            return None
        last = self.last
        return last if last.step is None and last.phase in (Phase.DONE, Phase.FAILED) else None

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow: it is done, was refused, or was denied before its first step."""
        end = self.end
        return end is not None and end.detail.get("status") in ("done", "denied", "refused")

    @property
    def may_be_judged_again(self) -> bool:
        """Whether it ended only because its gate could not decide: what that lacked may be there now."""
        begun = [step for step in self.begun if step.verdict is not None]
        return self.is_over and bool(begun) and begun[-1].is_undecided

    @property
    def begun(self) -> list[StepState]:
        """Its steps that something is recorded of, in the plan's order."""
        return sorted((step for step in self.steps.values() if step.records), key=lambda step: step.number)

    @property
    def results(self) -> dict[str, Mapping[str, Any]]:
        """What its finished steps gave, by step id, in the plan's order."""
        done = ((step.id, step.finished) for step in self.begun)
        return {name: record.detail.get("result", {}) for name, record in done if record is not None}

    @property
    def verdict(self) -> str | None:
        """What the last gate decided."""
        decided = [step.verdict["decision"] for step in self.begun if step.verdict]
        return str(decided[-1]) if decided else None

    @property
    def status(self) -> str:
        """In one word: waiting, approved, stopped, done, failed, refused or denied.

        Whether a process is carrying it out right now is not in the ledger: its lock says that.
        """
        if (end := self.end) is not None:
            return str(end.detail.get("status", end.phase))
        if self.denial is not None:
            return "denied"
        if any(step.records for step in self.steps.values()):
            return "stopped"
        if self.approvals:
            return "approved"
        only_reads = self.proposed is not None and self.proposed.effect == "reads"
        return "stopped" if only_reads else "waiting"

    @property
    def message(self) -> str:
        """What is said of its end; empty while there is none."""
        end = self.end
        if end is None:
            return ""
        error = end.detail.get("error")
        return str(error["message"] if isinstance(error, Mapping) else end.detail.get("message", ""))


def _approval(record: Record) -> Approval:
    return Approval(
        seq=record.seq,
        principal=record.principal,
        plan=record.plan or "",
        time=datetime.fromisoformat(record.time),
        how=str(record.detail.get("how", "")),
    )


def _amounts(found: object) -> dict[str, float]:
    """The known amounts of a recorded cost."""
    cost = found if isinstance(found, Mapping) else {}
    return {name: float(cost[name]) for name in AMOUNTS if isinstance(cost.get(name), int | float)}
