"""Rules: what must hold from one record of a run to the next, checked as the records go by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...core.contract import Effect
from ...core.files import sha256_json
from ...core.gate import Decision
from ...core.plan import GATE_SKILL, bind
from ..ledger import Phase, Record
from .plans import PlanFacts, PlanShelf
from .report import Findings

_FINISHED = (Phase.DONE, Phase.REUSED, Phase.ROLLED_BACK)
_ENDED = (Phase.DONE, Phase.FAILED)


@dataclass
class _Run:
    """What is known of a run so far."""

    plan: str | None = None
    proposed: int = 0
    approved: int = 0
    denied: int = 0
    begun: dict[str, int] = field(default_factory=dict)  # step -> its intent without an outcome yet
    finished: dict[str, int] = field(default_factory=dict)  # step -> the record that says so
    results: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    requests: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    verdict: str | None = None
    ended: int = 0


@dataclass(frozen=True)
class _Made:
    """Where an artifact comes from: the intent of the step that made it, and what that step was given."""

    intent: int
    run: str
    given: tuple[str, ...]


@dataclass(frozen=True)
class _Done:
    """What a finished call was, for those that are said to stand on it later."""

    skill: str | None
    result: str | None
    key: object


class RunRules:
    """Follows every run through the ledger."""

    def __init__(self, plans: PlanShelf, findings: Findings) -> None:
        self.plans = plans
        self.findings = findings
        self.approvals = self.calls = self.gates = 0
        self._runs: dict[str, _Run] = {}
        self._made: dict[str, _Made] = {}
        self._done: dict[int, _Done] = {}

    def take(self, record: Record) -> None:
        """Check the next record."""
        if record.run is None:
            return
        try:
            self._take(record, record.run)
        except (AttributeError, KeyError, TypeError) as error:
            self._fault(record, f"does not have the form of a '{record.phase}' record: {error!r}")

    def _take(self, record: Record, name: str) -> None:
        run = self._runs.setdefault(name, _Run())
        if run.ended and record.seq > run.ended:
            self._fault(record, f"comes after run {record.run} was done (record {run.ended})")
        plan = self._plan_of(run, record)
        if record.step is None:
            self._take_of_run(run, record, plan)
        elif record.phase == Phase.INTENT:
            self._take_intent(run, record, plan)
        elif record.phase in _FINISHED:
            self._take_finished(run, record, plan)
        elif record.phase == Phase.FAILED:
            run.begun.pop(record.step, None)

    def close(self, held: Iterable[str] = ()) -> None:
        """Name what was begun and has no outcome; `held`: runs that are being carried out right now."""
        going_on = set(held)
        for name, run in self._runs.items():
            for step, seq in run.begun.items():
                message = "is being carried out" if name in going_on else "has no outcome: it was cut short"
                self.findings.note(seq, f"step {step} of run {name} was begun and {message}")

    @property
    def unfinished(self) -> list[str]:
        """Runs with a step that was begun and has no outcome."""
        return [name for name, run in self._runs.items() if run.begun]

    def _plan_of(self, run: _Run, record: Record) -> PlanFacts | None:
        if record.phase == Phase.PROPOSED and record.step is None:
            if run.proposed:
                self._fault(record, f"proposes run {record.run} again (record {run.proposed} did)")
            run.plan, run.proposed = record.plan, record.seq
        elif record.plan is not None and record.plan != run.plan:
            named = (run.plan or "none")[:12]
            self._fault(record, f"is for plan {record.plan[:12]}, run {record.run} was proposed with {named}")
        return self.plans.get(record.plan, record.seq) if record.plan else None

    def _take_of_run(self, run: _Run, record: Record, plan: PlanFacts | None) -> None:
        if record.phase == Phase.PROPOSED and plan is not None:
            told = [(s.get("id"), s.get("skill"), s.get("effect")) for s in record.detail.get("steps", ())]
            if told != [(s["id"], s["skill"], s["effect"]) for s in plan.steps.values()]:
                self._fault(record, "lists other steps than the plan it names")
            if record.detail.get("gates") != plan.gates:
                self._fault(record, "lists other gates than the plan it names")
        elif record.phase == Phase.APPROVED:
            run.approved, self.approvals = record.seq, self.approvals + 1
        elif record.phase == Phase.DENIED:
            run.denied = record.seq
        elif record.phase in _ENDED:
            self._take_end(run, record, plan)

    def _take_end(self, run: _Run, record: Record, plan: PlanFacts | None) -> None:
        if record.phase != Phase.DONE:
            return
        run.ended = record.seq
        if record.detail.get("verdict") != run.verdict:
            told = record.detail.get("verdict")
            self._fault(record, f"ends the run with verdict {told}, its gate decided {run.verdict}")
        stopped = run.verdict not in (None, Decision.GO)
        if stopped and record.detail.get("exit_code") == 0:
            self._fault(record, f"ends the run as good although its gate decided {run.verdict}")
        missing = [step for step in plan.steps if step not in run.finished] if plan is not None else []
        if missing and not stopped:
            self._fault(record, f"ends the run as done although {', '.join(missing)} never were")
        run.results.clear()
        run.requests.clear()

    def _take_intent(self, run: _Run, record: Record, plan: PlanFacts | None) -> None:
        step = record.step or ""
        self.calls += 1
        self._check_may_run(run, record, plan)
        if step in run.finished:
            self._fault(record, f"begins step {step} again, which record {run.finished[step]} says is done")
        if step in run.begun:
            self.findings.note(
                run.begun[step],
                f"step {step} of run {record.run} was cut short and begun again ({record.seq})",
            )
        self._check_arguments(run, record, plan)
        run.begun[step] = record.seq
        run.requests[step] = record.detail.get("request", {})

    def _check_arguments(self, run: _Run, record: Record, plan: PlanFacts | None) -> None:
        """What was asked must be the plan's arguments, references filled in from the recorded results."""
        step = record.step or ""
        if plan is None or step not in plan.steps:
            return
        try:
            bound = bind(plan.steps[step]["arguments"], run.results)
        except KeyError as missing:
            self._fault(record, f"begins step {step} before what it stands on is there ({missing})")
            return
        if sha256_json(bound) != record.request:
            self._fault(record, f"runs step {step} with other arguments than the plan has")

    def _check_may_run(self, run: _Run, record: Record, plan: PlanFacts | None) -> None:
        """A step needs a proposal that has it, consent for that plan unless it only reads, and no refusal."""
        step = record.step or ""
        if not run.proposed:
            self._fault(record, f"acts in run {record.run}, which nobody proposed")
        if plan is not None:
            told = plan.steps.get(step)
            if told is None:
                self._fault(record, f"runs step {step}, which is not in the plan")
            elif (told["skill"], told["effect"]) != (record.skill, record.effect):
                self._fault(
                    record, f"runs {record.skill} ({record.effect}) as step {step}, the plan has other"
                )
        if record.effect != Effect.READS and not run.approved:
            self._fault(record, f"runs step {step} ({record.effect}) without approval of its plan")
        if run.denied:
            self._fault(record, f"runs step {step} although the plan was denied (record {run.denied})")
        if run.verdict not in (None, Decision.GO):
            self._fault(record, f"runs step {step} although the gate decided {run.verdict}")

    def _take_finished(self, run: _Run, record: Record, plan: PlanFacts | None) -> None:
        step = record.step or ""
        intent = run.begun.pop(step, 0)
        if record.phase == Phase.REUSED:
            self.calls += 1
            self._check_may_run(run, record, plan)
            if record.request is not None:  # else its key alone says which call it is
                self._check_arguments(run, record, plan)
            self._check_reuse(record)
            run.requests[step] = record.detail.get("request", {})
        elif not intent:
            self._fault(record, f"says step {step} is {record.phase}, but no record says it was begun")
        if step in run.finished:
            self._fault(record, f"finishes step {step} again (record {run.finished[step]} did)")
        run.finished[step] = record.seq
        result = record.detail.get("result", {})
        run.results[step] = result
        request = run.requests.get(step, {})
        given = tuple(value for value in request.values() if isinstance(value, str) and ":" in value)
        for ref in record.artifacts.values():
            self._made.setdefault(ref, _Made(intent or record.seq, record.run or "", given))
        if record.phase == Phase.DONE:
            self._done[record.seq] = _Done(record.skill, record.result, record.detail.get("key"))
        if "verdict" in result:
            self._check_verdict(run, record, plan, request, result["verdict"])

    def _check_reuse(self, record: Record) -> None:
        earlier = record.detail.get("receipt")
        stands_on = self._done.get(earlier) if isinstance(earlier, int) else None
        told = _Done(record.skill, record.result, record.detail.get("key"))
        if stands_on is None:
            self._fault(record, f"stands on record {earlier}, which is no finished call before it")
        elif stands_on != told:
            self._fault(record, f"stands on record {earlier}, which is another call or gave another result")

    def _check_verdict(
        self,
        run: _Run,
        record: Record,
        plan: PlanFacts | None,
        request: Mapping[str, Any],
        verdict: Mapping[str, Any],
    ) -> None:
        self.gates += 1
        run.verdict = str(verdict.get("decision"))
        decisions = {row.get("decision") for row in verdict.get("rows", ())}
        worst = next(
            (d for d in (Decision.NO_GO, Decision.INCONCLUSIVE, Decision.GO) if d in decisions), None
        )
        if run.verdict != (worst or Decision.INCONCLUSIVE):
            self._fault(record, f"decides {run.verdict}, its rows lead to {worst or Decision.INCONCLUSIVE}")
        if record.skill != GATE_SKILL:
            return
        if plan is not None and request.get("spec") not in plan.gates.values():
            self._fault(record, "judges by criteria that are not among the plan's gates")
        trained = self._training_of(str(request.get("report")))
        if trained is not None and trained.intent < run.proposed:
            self.findings.note(
                record.seq,
                f"the gate was set (record {run.proposed}) after the model it judges was trained "
                f"(record {trained.intent}, run {trained.run})",
            )

    def _training_of(self, ref: str) -> _Made | None:
        """Who trained the model that a report is about: the nearest checkpoint it comes from."""
        waiting, seen = [ref], set[str]()
        while waiting:
            name = waiting.pop(0)
            made = self._made.get(name)
            if name in seen or made is None:
                continue
            if name.startswith("checkpoint:"):
                return made
            seen.add(name)
            waiting += made.given
        return None

    def _fault(self, record: Record, message: str) -> None:
        self.findings.fault(record.seq, f"record {record.seq} {message}")
