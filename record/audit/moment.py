"""A moment of the walk: one record, its run just before it, and what the ledger said so far."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ...core.contract import Effect
from ...core.gate import Decision
from ...core.workspace import Workspace
from ..endpoint_history import EndpointHistory, withdrew
from ..judging import given_to, is_model, made_by, outcome_of
from ..ledger import Record
from ..mirror.remembered import VIEW_SKILL
from ..run_state import FINISHED, RunState, StepState
from ..spending import MonthTotals
from .authority import Authority, Policies
from .lineage import Lineage, Making
from .phases import APPROVED, DONE, INTENT, PROPOSED, RESERVED, REUSED, SETTLED
from .plans import PlanStore, StoredPlan
from .served import PROMOTE

_DIGEST_BYTES = 16
_TAKEN = frozenset({RESERVED, SETTLED, INTENT, *FINISHED})
_CALLS = frozenset({INTENT, *FINISHED})
_ASKS_POLICY = frozenset({PROPOSED, APPROVED, INTENT, REUSED})


class Note(NamedTuple):
    """What a check says without calling it wrong: the record's number (0: none) and the message."""

    seq: int
    message: str


@dataclass(frozen=True)
class Scope:
    """What the record is held against: effects by skill and policies by digest, where they are at hand."""

    workspace: Workspace
    plans: PlanStore
    effects: Mapping[str, str] | None = None
    policies: Policies | None = None


@dataclass
class History:
    """What the ledger said up to a record, beyond the runs themselves."""

    lineage: Lineage
    over: dict[str, int] = field(default_factory=dict)  # run -> the record that ended it
    calls: dict[int, bytes] = field(default_factory=dict)  # finished call -> its fingerprint and hash
    reserved: dict[tuple[str, str], int] = field(default_factory=dict)  # (run, step) -> what is not settled
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)  # key of a serving call -> (run, step)
    decided: set[str] = field(default_factory=set)  # runs in which something was judged
    policy: tuple[str, int] | None = None  # digest in force, and the last record that named it
    authorities: dict[str, Authority | None] = field(default_factory=dict)
    first_without_policy: int = 0
    told_plans: set[str] = field(default_factory=set)  # plans whose fault was said
    named: dict[str, int] = field(default_factory=dict)  # artifact -> the first record that names it
    environments: dict[str, int] = field(default_factory=dict)  # digest -> the first record that names it
    views: list[Record] = field(default_factory=list)  # where the ledger is shown, as recorded
    endpoints: dict[str, EndpointHistory] = field(default_factory=dict)
    months: MonthTotals = field(default_factory=MonthTotals)

    def take(self, at: Moment) -> None:
        """Take in a record that was checked and applied to its run."""
        record = at.record
        self.months.apply(record)
        if record.environment not in self.environments:
            self.environments[record.environment] = record.seq
        for ref in record.artifacts.values():
            self.named.setdefault(ref, record.seq)
        if record.phase in _ASKS_POLICY and (digest := record.detail.get("policy")):
            self.policy = (str(digest), record.seq)
        if record.run is None:
            if record.skill == VIEW_SKILL:
                self.views.append(record)
            elif withdrew(record):
                result = record.detail["result"]
                self.endpoints.setdefault(result["endpoint"], EndpointHistory()).take(record, {}, result)
        elif record.step is not None:
            if record.phase in _TAKEN:
                self._take_step(at, record.run, record.step)
        elif at.run.is_over and at.run.verdict != Decision.INCONCLUSIVE:  # which may be judged again
            self.over[record.run] = record.seq
            self.decided.discard(record.run)
            for step in at.run.steps:
                self.reserved.pop((record.run, step), None)

    def call(self, seq: object) -> tuple[bytes, str] | None:
        """The fingerprint and hash of the finished call that a number names."""
        found = self.calls.get(seq) if isinstance(seq, int) else None
        return None if found is None else (found[:_DIGEST_BYTES], found[_DIGEST_BYTES:].hex())

    def _take_step(self, at: Moment, run: str, step: str) -> None:
        record = at.record
        if record.phase == RESERVED:
            self.reserved[run, step] = record.seq
        elif record.phase == SETTLED:
            self.reserved.pop((run, step), None)
        elif record.phase == INTENT and at.serves:
            self.keys.setdefault(str(record.detail.get("idempotency_key", "")), (run, step))
        elif record.phase in FINISHED:
            self._take_finished(at, run)
        if record.phase in _CALLS and at.serves:
            self._take_serving(at)

    def _take_finished(self, at: Moment, run: str) -> None:
        record, step = at.record, at.step
        intents = step.intents if step is not None else []
        begun = intents[-1].seq if intents and record.phase != REUSED else record.seq
        for ref, given in made_by(step, record) if step is not None else ():
            self.lineage.make(ref, Making(begun, run, tuple(sorted(given))))
        if record.phase == DONE:
            asked = intents[-1].request if intents else None
            self.calls[record.seq] = fingerprint(record, asked) + bytes.fromhex(record.hash)
        result = record.detail.get("result")
        if not result or result.get("verdict") is None:
            return
        self.decided.add(run)
        if step is not None and (told := outcome_of(at.run, step, record)) is not None:
            self.lineage.judge(told[1], told[0])

    def _take_serving(self, at: Moment) -> None:
        request = at.step.request if at.step is not None else {}
        result = at.record.detail.get("result", {})
        endpoint = result.get("endpoint") or request.get("endpoint")
        if isinstance(endpoint, str):
            known = self.endpoints.setdefault(endpoint, EndpointHistory())
            known.take(at.record, request, result)


@dataclass(slots=True)
class Moment:
    """One record, and what came before it: `run` and `past` do not know the record yet."""

    record: Record
    run: RunState
    past: History
    scope: Scope
    plan: StoredPlan | None
    _effects: tuple[str | None, str | None, str | None] | None = None

    @property
    def step(self) -> StepState | None:
        """The step that the record is about, as far as it is known."""
        return self.run.steps.get(self.record.step) if self.record.step is not None else None

    @property
    def effects(self) -> tuple[str | None, str | None, str | None]:
        """What the step does, as the record says, its plan, and the skill itself."""
        if self._effects is None:
            self._effects = self._look_up_effects()
        return self._effects

    def _look_up_effects(self) -> tuple[str | None, str | None, str | None]:
        record, known = self.record, self.scope.effects
        call = self.plan.steps.get(record.step or "") if self.plan is not None else None
        declared = known.get(record.skill) if known is not None and record.skill is not None else None
        return record.effect, call.effect if call is not None else None, declared

    @property
    def serves(self) -> bool:
        """Whether the step changes what users of an endpoint get, whoever says so."""
        return Effect.SERVES in self.effects

    @property
    def effect(self) -> str:
        """The strongest of `effects`."""
        found = self.effects
        return next((e for e in (Effect.SERVES, Effect.WRITES) if e in found), str(self.record.effect))

    @property
    def keeps_costs(self) -> bool:
        """Whether the run was proposed with its costs: then each attempt reserves, settles and has a key."""
        return "costs" in self.run.proposal

    def models(self) -> Iterator[str]:
        """The bundles and checkpoints that users get by the call: named in it, or the canary it promotes."""
        request = self.record.detail.get("request", {})
        yield from sorted(filter(is_model, given_to(request)))
        if self.record.skill == PROMOTE and self.record.phase in (INTENT, REUSED):
            known = self.past.endpoints.get(str(request.get("endpoint")))
            if known is not None and known.canary_bundle is not None:
                yield known.canary_bundle


def fingerprint(record: Record, asked: str | None) -> bytes:
    """What makes two finished calls the same: the skill, the request's and the result's digest, the key."""
    parts = (record.skill, asked, record.result, str(record.detail.get("key")))
    return hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=_DIGEST_BYTES).digest()
