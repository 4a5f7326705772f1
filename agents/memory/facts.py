"""Plain facts: what the fold of the ledger answers for certain, without a passage being searched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.errors import OpswrightError
from ...record.index import LedgerIndex
from ...record.run_state import RunState
from ...serving.live import live_at
from .answer import Fact, FactFinder

if TYPE_CHECKING:
    from ...core.workspace import Workspace

_LIVE = re.compile(r"^(what|which|who)\b.*\b(live|served|serving|stable|canary|deployed|in production)\b")
_REFUSED = re.compile(r"^(why|what|which)\b.*\b(refused?|rejected|no.?go|denied|failed|turned down)\b")
_RUN = re.compile(r"\b\d{8}-\d{6}-[0-9a-f]{6}\b")
_NOT_NOW = re.compile(r"\b(was|were|did|before|yesterday|on \d|at \d|does|would|should|if)\b")
_NEWEST = 50


def fact_finder(workspace: Workspace) -> FactFinder:
    """Who knows what is served now, how a named run ended, and what was refused last."""

    def find(question: str) -> Sequence[Fact]:
        asked = " ".join(question.lower().split())
        index = LedgerIndex.of(workspace)
        try:
            if (named := _RUN.search(asked)) is not None:
                state = index.run_state(named.group())
                return () if state is None else (_ended(state),)
            if _LIVE.search(asked) and not _NOT_NOW.search(asked):
                return _live(workspace)
            if _REFUSED.search(asked) and not re.search(r"\b(does|would|should|can|may) ", asked):
                return _refused(index, "fail" in asked)
        except OpswrightError as error:
            return (Fact(f"The record could not be asked: {error}"),)
        return ()

    return find


def _live(workspace: Workspace) -> tuple[Fact, ...]:
    every = live_at(workspace)
    changes = LedgerIndex.of(workspace).changes([one.key for one in every if one.key])
    facts = []
    for one in every:
        releases = ", ".join(f"{it.release} ({it.route}, {it.percent} %)" for it in one.releases)
        record = changes.get(one.key)
        facts.append(
            Fact(
                f"Endpoint {one.endpoint} serves {releases or 'nothing'}, "
                f"by {one.change} at {one.since[:19]}.",
                (record.seq,) if record is not None else (),
            )
        )
    return tuple(facts)


def _refused(index: LedgerIndex, is_failure: bool) -> tuple[Fact, ...]:
    """What was refused last, by a gate, a person or the policy; or what failed last, where that is asked."""
    for row in index.rows(limit=_NEWEST):
        state = index.run_state(row.run)
        refused = row.verdict not in (None, "GO") or row.status in ("denied", "refused")
        if state is not None and (row.status == "failed" if is_failure else refused):
            ended = _ended(state)
            return (
                Fact(
                    f"The last that {'failed' if is_failure else 'was refused'}: {ended.text}", ended.records
                ),
            )
    return ()


def _ended(state: RunState) -> Fact:
    """How a run ended, with the rows of a verdict that did not pass."""
    head = f"Run {state.run} ({state.goal[:80]}) is {state.status}"
    if state.denial is not None:
        why = str(state.denial.detail.get("why", ""))
        return Fact(
            f"{head}: {state.denial.actor} denied its plan{f', {why!r}' if why else ''}.", (state.denial.seq,)
        )
    for step in reversed(state.begun):
        if step.verdict is not None:
            rows = [row for row in step.verdict.get("rows", ()) if row.get("decision") != "GO"]
            why = "; ".join(f"{row.get('name')} {row.get('message')}" for row in rows)
            told = f"{head}: its gate {step.id} says {step.verdict['decision']}"
            return Fact(f"{told}{f', since {why}' if why else ''}.", (step.last.seq,))
        if step.error:
            return Fact(f"{head}: step {step.id} failed, {step.error.get('message')}", (step.last.seq,))
    return Fact(f"{head}{f': {state.message}' if state.message else ''}.", (state.last.seq,))
