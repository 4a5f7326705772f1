"""Stories: the ledger's records of one run, gathered into what happened to it and to each of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ..ledger import Phase, Record

OUTCOMES = frozenset({Phase.DONE, Phase.FAILED, Phase.REUSED, Phase.ROLLED_BACK, Phase.DENIED})
_INTERRUPTED = 130  # exit code of a run that a person stopped


class Status(StrEnum):
    """How MLflow shows a run; the values are MLflow's own."""

    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


def milliseconds(record: Record) -> int:
    """When a record was made, in milliseconds since 1970 (UTC)."""
    return nanoseconds(record) // 1_000_000


def nanoseconds(record: Record) -> int:
    """When a record was made, in nanoseconds since 1970 (UTC)."""
    time = datetime.fromisoformat(record.time)
    return int(time.timestamp()) * 1_000_000_000 + time.microsecond * 1_000


@dataclass
class StepStory:
    """One step of a run: `number` is its place in the plan, from 1."""

    id: str
    number: int
    skill: str
    effect: str
    records: list[Record] = field(default_factory=list)

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
    def last(self) -> Record:
        """Its newest record."""
        return self.records[-1]

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
        return verdict if isinstance(verdict, Mapping) else None

    @property
    def error(self) -> Mapping[str, Any]:
        """Family and message of what stopped it; empty when nothing did."""
        outcome = self.outcome
        error = outcome.detail.get("error", {}) if outcome is not None else {}
        return error if isinstance(error, Mapping) else {}

    def status(self, run_is_open: bool) -> Status:
        """How MLflow shows it; without an outcome it was killed, unless its run still goes on."""
        outcome = self.outcome
        if outcome is None:
            return Status.RUNNING if run_is_open else Status.KILLED
        if outcome.phase == Phase.DENIED or outcome.detail.get("exit_code") == _INTERRUPTED:
            return Status.KILLED
        return Status.FAILED if outcome.phase == Phase.FAILED else Status.FINISHED


@dataclass
class Story:
    """One run, from what the ledger says of it."""

    run: str
    records: list[Record] = field(default_factory=list)
    steps: dict[str, StepStory] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Take in the run's next record."""
        self.records.append(record)
        if record.phase == Phase.PROPOSED:
            for number, step in enumerate(record.detail.get("steps", ()), 1):
                self.steps.setdefault(
                    step["id"], StepStory(step["id"], number, step["skill"], step["effect"])
                )
        if record.step is not None:
            step_story = self.steps.get(record.step)
            if step_story is None:
                step_story = StepStory(
                    record.step, len(self.steps) + 1, record.skill or "", record.effect or ""
                )
                self.steps[record.step] = step_story
            step_story.records.append(record)

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
        return next((r.detail for r in self.records if r.phase == Phase.PROPOSED), {})

    @property
    def goal(self) -> str:
        """What the run is for."""
        return str(self.proposal.get("goal", "")) or "run"

    @property
    def plan(self) -> str | None:
        """The id of its plan."""
        return next((record.plan for record in self.records if record.plan), None)

    @property
    def consent(self) -> Record | None:
        """Who approved or denied it."""
        answers = (Phase.APPROVED, Phase.DENIED)
        return next((r for r in self.records if r.step is None and r.phase in answers), None)

    @property
    def end(self) -> Record | None:
        """How it ended, unless it goes on since."""
        last = self.last
        return last if last.step is None and last.phase in (Phase.DONE, Phase.FAILED) else None

    @property
    def begun(self) -> list[StepStory]:
        """Its steps that something is recorded of, in the plan's order."""
        return sorted((step for step in self.steps.values() if step.records), key=lambda step: step.number)

    @property
    def verdict(self) -> str | None:
        """What the last gate decided."""
        decided = [step.verdict["decision"] for step in self.begun if step.verdict]
        return decided[-1] if decided else None

    def status(self, is_held: bool) -> Status:
        """How MLflow shows the run; `is_held`: some process is carrying it out right now."""
        end = self.end
        if end is None:
            if is_held:
                return Status.RUNNING
            return Status.SCHEDULED if self.last.phase == Phase.PROPOSED else Status.KILLED
        if end.detail.get("status") == "denied" or end.detail.get("exit_code") == _INTERRUPTED:
            return Status.KILLED
        return Status.FAILED if end.phase == Phase.FAILED else Status.FINISHED
