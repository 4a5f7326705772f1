"""Checks of the budgets of a month, by the policy that each record names.

What a step told it took, and whether the clock was right, no record can show; nor which policy lay in the
folder, but by the digest that the record of the step names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from ..run_state import AMOUNTS
from .authority_checks import ROUNDING, authority_of
from .moment import Moment, Note
from .phases import INTENT, SETTLED
from .run_checks import Said, is_held_for_planning


def month_budgets(at: Moment) -> Said:
    """No step begins beyond what its person, or all, may take in its month; each settles all that it held."""
    if is_held_for_planning(at.record):
        yield from _planning_beyond(at)
    elif at.record.step is None:
        return
    elif at.record.phase == SETTLED:
        yield from _settles_less(at)
    elif at.record.phase == INTENT and at.scope.policies is not None and at.keeps_costs:
        yield from _beyond_month(at)


def _planning_beyond(at: Moment) -> Iterator[str | Note]:
    """Limits of the month that what a message to a planner holds exceeds."""
    record = at.record
    if at.scope.policies is None:
        return
    authority = yield from authority_of(at, at.scope.policies, str(record.detail.get("policy") or ""))
    if authority is None:
        yield Note(record.seq, "budgets of a month were not judged for planning: its policy is not kept")
        return
    month, told = _month(record.time), record.detail.get("reserved")
    held = told if isinstance(told, Mapping) else {}
    own = {("", str(record.detail.get("message") or "")): dict[str, float]()}  # it is held instead of that
    for whose, limits in authority.month_limits(record.actor):
        taken = at.past.months.charged(whose, month, own)
        with_it = {name: taken[name] + held[name] for name in AMOUNTS if type(held.get(name)) in (int, float)}
        yield from _beyond("holds for planning", limits, with_it, whose, month)


def _settles_less(at: Moment) -> Iterator[str]:
    """Amounts that were reserved and are settled without a figure, or in a month before their reservation."""
    record = at.record
    held = at.past.months.open.get((record.run or "", record.step or ""))
    if held is None:
        return  # another check says so
    spent = record.detail.get("spent")
    told = spent if isinstance(spent, Mapping) else {}
    lost = [name for name in AMOUNTS if name in held.amounts and type(told.get(name)) not in (int, float)]
    if lost:
        what = f"{', '.join(lost)}, which record {held.seq} reserved"
        yield f"settles step {record.step} without an amount of {what}"
    if (month := _month(record.time)) < held.month:
        when = f"{month}, although it was reserved in {held.month} (record {held.seq})"
        yield f"settles step {record.step} in {when}"


def _beyond_month(at: Moment) -> Iterator[str | Note]:
    """Limits of the month that what is settled and what is reserved exceed together."""
    record, months = at.record, at.past.months
    person = months.person_of(record.run or "")
    if person is None or at.scope.policies is None:
        return
    authority = yield from authority_of(at, at.scope.policies, str(record.detail.get("policy") or ""))
    if authority is None:
        yield Note(
            record.seq, f"budgets of a month were not judged for step {record.step}: its policy is not kept"
        )
        return
    month = _month(record.time)
    held = months.open.get((record.run or "", record.step or ""))
    for whose, limits in authority.month_limits(person):
        taken = months.charged(whose, month)
        known = {name: taken[name] for name in limits if held is not None and name in held.amounts}
        yield from _beyond(f"begins step {record.step}", limits, known, whose, month)


def _beyond(
    act: str, limits: Mapping[str, float], known: Mapping[str, float], whose: str | None, month: str
) -> Iterator[str]:
    """Limits of a month that amounts taken and reserved exceed, or that no known amount is reserved of."""
    words = "everybody's budget" if whose is None else f"{whose}'s budget"
    for name, limit in limits.items():
        if name not in known:
            yield f"{act} without a known amount of {name}, which {words} limits"
        elif known[name] > limit * (1 + ROUNDING) + ROUNDING:
            yield f"{act} beyond {words} of {month}: {known[name]:g} {name} taken and reserved of {limit:g}"


def _month(time: str) -> str:
    at = datetime.fromisoformat(time)
    return f"{(at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC):%Y-%m}"
