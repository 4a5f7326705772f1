"""Checks of each record: its run and plan, the order of steps, their arguments, keys and reuse.

Each takes a moment and yields what is wrong with its record as the end of the sentence "record 7 ...", or a
note.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from ...core.contract import Effect
from ...core.gate import Decision
from ..endpoint_history import withdrew
from ..mirror.remembered import VIEW_SKILL
from ..records import PLANNING, Record
from ..run_state import FINISHED
from .moment import Moment, Note, fingerprint
from .phases import ALL, APPROVED, DONE, INTENT, PROPOSED, RESERVED, REUSED, ROLLED_BACK, SETTLED, SUBMITTED
from .plans import StoredPlan, plain_json

_OF_A_RUN = frozenset({PROPOSED, APPROVED})
_NO_RUNS = (VIEW_SKILL, PLANNING)  # set up a view, took something to plan: nothing was run
_OF_A_STEP = frozenset({RESERVED, INTENT, SUBMITTED, SETTLED, REUSED, ROLLED_BACK})
_PHASES = ALL

Said = Iterator[str | Note]


def records(at: Moment) -> Said:
    """Each record has a known phase and belongs to a run that was proposed and is not over."""
    record = at.record
    if record.phase not in _PHASES:
        yield f"has phase '{record.phase}', which Opswright does not write"
    elif is_held_for_planning(record):
        return
    elif record.phase in (_OF_A_RUN if record.step is not None else _OF_A_STEP):
        yield f"is '{record.phase}' of " + (f"step {record.step}" if record.step else "no step")
    if record.run is None:
        if withdrew(record) and record.step is None:
            yield from _withdraws_more(at)
        elif record.skill not in _NO_RUNS or record.effect is not None or record.step is not None:
            what = f" of {record.skill}" if record.skill else ""
            yield f"is '{record.phase}'{what} without a run: no plan, approval or budget stands behind it"
        return
    if (end := at.past.over.get(record.run)) is not None:
        yield f"comes after run {record.run} was done (record {end})"
    elif record.phase == PROPOSED:
        if at.run.proposed is not None:
            yield f"proposes run {record.run} again (record {at.run.proposed.seq} did)"
    elif at.run.proposed is None:
        yield f"acts in run {record.run}, which nobody proposed"


def is_held_for_planning(record: Record) -> bool:
    """Whether a record says what a message to a planner holds of the month until it is settled."""
    stands_alone = record.run is None and record.step is None and record.effect is None
    return record.phase == RESERVED and record.skill == PLANNING and stands_alone


def _withdraws_more(at: Moment) -> Iterator[str]:
    """A withdrawal without a plan gives users what they have: the stable release, and no other."""
    result = at.record.detail["result"]
    known = at.past.endpoints.get(result["endpoint"])
    said, was = result.get("release"), known.stable if known is not None else None
    if said != was:
        yield f"withdraws a canary of endpoint {result['endpoint']} and leaves {said}, stable was {was}"


def plans(at: Moment) -> Said:
    """Each record stands on its run's stored plan, which says the effects that skills declare."""
    record, proposed = at.record, at.run.proposed
    if record.run is None:
        return
    if record.plan is None:
        if record.step is not None or record.phase in _OF_A_RUN:
            yield "names no plan"
        return
    if proposed is not None and record.phase != PROPOSED and record.plan != proposed.plan:
        named = (proposed.plan or "none")[:12]
        yield f"is for plan {record.plan[:12]}, run {record.run} was proposed with {named}"
    if at.plan is None:
        if record.plan not in at.past.told_plans:
            at.past.told_plans.add(record.plan)
            yield f"names plan {record.plan[:12]}, which {at.scope.plans.problem(record.plan)}"
        return
    if record.phase == PROPOSED and record.step is None:
        yield from _proposal_differs(record.detail, at.plan)
        yield from _effects_differ(at)
    elif record.step is not None:
        call = at.plan.steps.get(record.step)
        if call is None:
            yield f"is about step {record.step}, which is not in the plan"
        elif record.phase in (INTENT, *FINISHED) and (call.skill, call.effect) != (
            record.skill,
            record.effect,
        ):
            yield f"runs {record.skill} ({record.effect}) as step {record.step}, the plan has other"


def _proposal_differs(detail: Mapping[str, Any], plan: StoredPlan) -> Iterator[str]:
    if [(step["id"], step["skill"], step["effect"]) for step in detail.get("steps", ())] != plan.summary:
        yield "lists other steps than the plan it names"
    if detail.get("gates") != plan.body["gates"]:
        yield "lists other gates than the plan it names"
    if detail.get("waivers", {}) != plan.plan.waivers:
        yield "lists other waivers than the plan it names"
    if len(plan.steps) != len(plan.plan.steps):
        yield "names a plan in which two steps have one id"


def _effects_differ(at: Moment) -> Said:
    """A plan is a document; what a step may do is the skill's to say."""
    known = at.scope.effects
    for step, skill, effect in at.plan.summary if at.plan is not None and known is not None else ():
        if known is None or skill not in known:
            message = f"skill {skill} of step {step} is not installed: its effect was not compared"
            yield Note(at.record.seq, message)
        elif str(known[skill]) != effect:
            yield f"names a plan in which step {step} ({skill}) {effect}, but {skill} {known[skill]}"


def order(at: Moment) -> Said:
    """Steps are begun before they end, each is done once, and nothing runs after a gate said no."""
    record, step = at.record, at.step
    if record.run is None:
        return
    if record.step is None:
        if record.phase == DONE:
            yield from _end_differs(at)
        return
    if record.phase == SUBMITTED:
        if step is None or not step.is_open:
            yield f"submits a job of step {record.step}, which was not begun"
        return
    finished = step.finished if step is not None else None
    again = finished is not None and not _may_judge_again(at)
    if record.phase in (INTENT, REUSED):
        verdict = at.run.verdict if record.run in at.past.decided else None
        if verdict not in (None, Decision.GO) and not _may_judge_again(at):
            yield f"runs step {record.step} although the gate decided {verdict}"
    if record.phase == INTENT:
        if again and finished is not None:
            yield f"begins step {record.step} again, which record {finished.seq} says is done"
        elif step is not None and step.is_open:
            message = f"step {record.step} of run {record.run} was cut short and begun again ({record.seq})"
            yield Note(step.last.seq, message)
        return
    if record.phase != REUSED and (step is None or not step.is_open):
        yield f"says step {record.step} is {record.phase}, but no record says it was begun"
    if again and finished is not None:
        yield f"finishes step {record.step} again (record {finished.seq} did)"


def _may_judge_again(at: Moment) -> bool:
    """A gate that could not decide may be asked again when what it lacked is there."""
    step = at.step
    finished = step.finished if step is not None else None
    verdict = finished.detail.get("result", {}).get("verdict", {}) if finished is not None else {}
    inconclusive = verdict.get("decision") == Decision.INCONCLUSIVE if verdict else False
    return at.record.effect == "reads" and inconclusive


def _end_differs(at: Moment) -> Iterator[str]:
    """The end of a run must say what its gates decided, and that nothing is missing."""
    record, run = at.record, at.run
    told, decided = record.detail.get("verdict"), run.verdict
    if told != decided:
        yield f"ends the run with verdict {told}, its gate decided {decided}"
    stopped = decided not in (None, Decision.GO)
    if stopped and record.detail.get("exit_code") == 0:
        yield f"ends the run as good although its gate decided {decided}"
    if at.plan is None or stopped:
        return
    missing = [s for s in at.plan.steps if s not in run.steps or run.steps[s].finished is None]
    if missing:
        yield f"ends the run as done although {', '.join(missing)} never were"


def unfinished(at: Mapping[str, Any], held: Iterator[str]) -> Iterator[Note]:
    """Steps that were begun and have no outcome, of the runs that are not over; `held`: carried out now."""
    going_on = set(held)
    for name, run in at.items():
        for step in run.begun:
            if step.is_open:
                message = "is being carried out" if name in going_on else "has no outcome: it was cut short"
                yield Note(step.last.seq, f"step {step.id} of run {name} was begun and {message}")


def arguments(at: Moment) -> Said:
    """What was asked is the plan's arguments, references filled in from the recorded results."""
    record = at.record
    call = at.plan.steps.get(record.step or "") if at.plan is not None else None
    if at.plan is None or call is None or (record.phase == REUSED and record.request is None):
        return
    request = record.detail.get("request")
    text = plain_json(request)
    if hashlib.sha256(text).hexdigest() != record.request:
        yield f"shows another request for step {record.step} than its digest says"
        return
    try:
        wanted = at.plan.fill(call, _Results(at))
    except KeyError as missing:
        yield f"begins step {record.step} before what it stands on is there ({missing})"
        return
    if text != wanted:
        yield f"runs step {record.step} with other arguments than the plan has"


class _Results(dict[str, Mapping[str, Any]]):
    """The results of a run's finished steps, looked up when they are asked for."""

    def __init__(self, at: Moment) -> None:
        super().__init__()
        self._steps = at.run.steps

    def __missing__(self, name: str) -> Mapping[str, Any]:
        step = self._steps.get(name)
        finished = step.finished if step is not None else None
        if finished is None:
            raise KeyError(name)
        result: Mapping[str, Any] = finished.detail.get("result", {})
        return result


def keys(at: Moment) -> Said:
    """A step keeps one idempotency key over all its attempts, and no other step has it."""
    record, step = at.record, at.step
    key = record.detail.get("idempotency_key")
    if key is None:
        if at.keeps_costs:
            yield f"begins step {record.step} without an idempotency key"
        return
    if step is not None and step.idempotency_key not in (None, key):
        first = next(r.seq for r in step.intents if "idempotency_key" in r.detail)
        message = f"begins step {record.step} with another idempotency key than record {first}"
        yield f"{message}: it may be done twice"
    other = next((s.id for s in at.run.steps.values() if s is not step and s.idempotency_key == key), None)
    if other is not None:
        yield f"begins step {record.step} with the idempotency key of step {other}"
    elif at.serves and at.past.keys.get(key, (record.run, record.step)) != (record.run, record.step):
        run, name = at.past.keys[key]
        yield f"begins step {record.step} with the idempotency key of step {name} of run {run}"


def reuse(at: Moment) -> Said:
    """A reused result stands on a finished call, by number and hash, with the same request and result."""
    record = at.record
    earlier = record.detail.get("receipt")
    call = at.past.call(earlier)
    if call is None:
        yield f"stands on record {earlier}, which is no finished call before it"
        return
    stands_on, digest = call
    if stands_on != fingerprint(record, record.request):
        yield f"stands on record {earlier}, which is another call or gave another result"
    told = record.detail.get("receipt_hash")
    if told is None and at.keeps_costs:
        yield f"stands on record {earlier} without naming its hash"
    elif told not in (None, digest):
        yield f"stands on record {earlier} with hash {str(told)[:12]}, which is not that record's"
    if record.effect == Effect.SERVES:
        yield "reuses a serving step, which has to be done each time"
