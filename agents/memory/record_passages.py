"""Passages of the ledger: each record as a sentence, and what the artifacts it names say of themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ...core.artifacts import Artifact
from ...core.errors import OpswrightError
from ...record.endpoint_history import WATCH_SKILL
from ...record.index.lines import microseconds
from ...record.ledger import Phase, Record
from ...record.records import PLANNING
from ...record.run_state import FINISHED, RunState
from .artifact_passages import told_of
from .passage_words import words_for
from .passages import Passage, figure_words, in_words, one_value, passage_text, quoted

_WHAT = {
    Phase.PROPOSED: "proposed the plan",
    Phase.APPROVED: "approved the plan",
    Phase.DENIED: "denied the plan",
    Phase.INTENT: "began",
    Phase.SUBMITTED: "submitted a job of",
    Phase.DONE: "finished",
    Phase.FAILED: "failed",
    Phase.REUSED: "took over the earlier result of",
    Phase.ROLLED_BACK: "rolled back",
}
_UNTOLD = frozenset(
    {
        "key", "receipt", "receipt_hash", "idempotency_key", "policy", "pid", "verdict", "plan_yaml", "text",
        "tests", "slices", "baselines", "metrics", "shortcuts", "rows", "environment", "findings",
        "exit_code",
    }
)  # fmt: skip
_RANKED = 12  # models


class ArtifactOpener(Protocol):
    """Opens the artifact of a reference."""

    def open(self, text: str) -> Artifact:
        """What it says of itself."""


class RecordPassages:
    """Makes the passages of records; artifacts that are damaged or gone are passed over."""

    def __init__(self, artifacts: ArtifactOpener) -> None:
        self._artifacts = artifacts

    def of(self, record: Record, state: RunState | None) -> Iterator[Passage]:
        """Of one record; `state` is that of its run, with the record taken in."""
        if record.phase not in _WHAT or record.skill in ("mlflow-view", PLANNING):
            return
        yield self._sentence(record, state)
        detail = record.detail
        if record.phase == Phase.PROPOSED:
            yield from _plan(record)
        result = detail.get("result")
        if record.phase not in FINISHED or not isinstance(result, Mapping):
            return
        request = state.steps[record.step].request if state is not None and record.step in state.steps else {}
        if isinstance(result.get("verdict"), Mapping):
            yield from _verdict(record, result, state)
        if record.effect == "serves" or record.skill == WATCH_SKILL:
            yield _release(record, request, result)
        if record.phase == Phase.REUSED:
            return
        for name, ref in record.artifacts.items():
            yield from self._artifact(record, name, ref, request, result)

    def _sentence(self, record: Record, state: RunState | None) -> Passage:
        detail = record.detail
        what = _WHAT[Phase(record.phase)]
        step = f" step {record.step} ({record.skill})" if record.step else " the run" if record.run else ""
        if record.phase in (Phase.PROPOSED, Phase.APPROVED, Phase.DENIED) and not record.step:
            step = f" {(record.plan or '')[:12]}"
        goal = quoted(state.goal) if state is not None and state.proposed is not None else ""
        error = detail.get("error")
        told: Mapping[str, Any] = {}
        for part in ("request", "result"):
            if isinstance(detail.get(part), Mapping):
                told = {**told, **detail[part]}
        rest = {name: value for name, value in detail.items() if name in ("how", "why", "status", "message")}
        sentences = [
            f"{record.actor} ({record.role}) {what}{step} on {_day(record.time)} UTC.",
            f"It belongs to run {record.run}, whose goal is {goal}." if record.run and goal else "",
            f"The error ({error.get('family')}): {error.get('message')}."
            if isinstance(error, Mapping)
            else "",
            f"{in_words(rest)}." if rest else "",
            f"It took {one_value(detail['seconds'])} seconds." if "seconds" in detail else "",
            f"{in_words(told, _UNTOLD)}." if told else "",
            _ranking(detail.get("result")),
        ]
        title = f"Record {record.seq}: {record.phase} {record.step or record.skill or 'run'}"
        words = words_for(f"phase.{record.phase}", f"skill.{record.skill}")
        return _passage(record, f"record:{record.seq}", "record", title, sentences, words)

    def _artifact(
        self,
        record: Record,
        name: str,
        ref: object,
        request: Mapping[str, Any],
        result: Mapping[str, Any],
    ) -> Iterator[Passage]:
        try:
            artifact = self._artifacts.open(str(ref))
            told = list(told_of(artifact, request, result))
        except (OpswrightError, OSError, ValueError, LookupError, TypeError, AttributeError):
            return  # damaged, or made by another version: the audit names it, and its record is indexed
        for one in told:
            name = f"{artifact.ref}:{one.part}"
            yield _passage(record, name, one.kind, one.title, one.sentences, words_for(*one.words))


def _ranking(result: object) -> str:
    """The models that a result ranks, best first; empty where it ranks none."""
    rows = result.get("rows") if isinstance(result, Mapping) else None
    if not isinstance(rows, list):
        return ""
    ranked = [
        f"{place}: {row['model']} {row.get('metric', '')} {figure_words(row['value'])}"
        for place, row in enumerate(rows[:_RANKED], 1)
        if isinstance(row, Mapping) and "model" in row and isinstance(row.get("value"), float)
    ]
    return f"Ranking, best first: {'; '.join(ranked)}." if ranked else ""


def run_passage(state: RunState) -> Passage | None:
    """What a run came to; None for one that was never proposed."""
    if state.proposed is None:
        return None
    first = state.proposed
    who = "; ".join(f"{one.principal} on {_day(one.time.isoformat())} ({one.how})" for one in state.approvals)
    took = ", ".join(f"{amount:.2f} {name.replace('_', ' ')}" for name, amount in state.spent.items())
    steps = "; ".join(
        f"{step.id} ({step.skill}): {step.records[-1].phase if step.records else 'not begun'}"
        for step in state.steps.values()
    )
    sentences = [
        f"Run {state.run} {quoted(state.goal)} is {state.status}.",
        f"Its verdict is {state.verdict}." if state.verdict else "No gate judged it.",
        f"How it ended: {state.message}." if state.message else "",
        f"{first.actor} proposed it on {_day(first.time)} UTC from {state.proposal.get('source', '')}.",
        f"Approved by {who}." if who else "Nobody approved it.",
        f"It cost {took}." if took else "",
        f"It ended on {_day(state.end.time)} UTC." if state.end is not None else "",
        f"Steps: {steps}.",
    ]
    endpoint = next(
        (str(step.request["endpoint"]) for step in state.steps.values() if step.request.get("endpoint")), ""
    )
    return Passage(
        id=f"run:{state.run}",
        kind="run",
        title=f"Run {state.run}: {state.status}",
        text=passage_text(sentences),
        seq=state.last.seq,
        run=state.run,
        endpoint=endpoint,
        time=microseconds(state.last.time) or 0,
        source=f"opswright audit list --run {state.run}",
        asked_as=words_for(
            "run", f"run.{state.status}", *(["run.stopped"] if "not run" in state.message else [])
        ),
    )


def _plan(record: Record) -> Iterator[Passage]:
    detail = record.detail
    goal = str(detail.get("goal", ""))
    plan = f"Plan {(record.plan or '')[:12]}"
    sentences = [f"Steps of the plan {quoted(goal)}, in their order."]
    for place, step in enumerate(detail.get("steps", ()), 1):
        if isinstance(step, Mapping):
            told = in_words(step.get("arguments", step.get("with", {})) or {}, frozenset({"key"}))
            sentences += [
                f"{place}: {step.get('id')}, skill {step.get('skill')}, which {step.get('effect')}.",
                f"Arguments: {told}." if told else "",
                f"Its gate is {step['gate']}." if step.get("gate") else "",
            ]
    yield _passage(record, f"plan:{record.seq}", "plan", f"{plan}: steps", sentences, words_for("plan.steps"))
    for name, gate in (detail.get("gates") or {}).items():
        if isinstance(gate, Mapping):
            sentences = [
                f"Gate {name} of the plan {quoted(goal)}, fixed before any training: {in_words(gate)}."
            ]
            name_of_it = f"plan:{record.seq}:gate:{name}"
            yield _passage(
                record, name_of_it, "plan", f"{plan}, gate {name}", sentences, words_for("plan.gate")
            )
    warned = [one for one in detail.get("findings", ()) if isinstance(one, Mapping)]
    for place, one in enumerate(found for found in warned if found.get("level") != "ok"):
        sentences = [
            f"Pre-flight of the plan {quoted(goal)} found at step {one.get('step')} ({one.get('level')}): "
            f"{one.get('message')} {one.get('fix', '')}"
        ]
        name_of_it = f"plan:{record.seq}:finding:{place}"
        yield _passage(
            record, name_of_it, "plan", f"{plan}, pre-flight", sentences, words_for("plan.finding")
        )


def _verdict(record: Record, result: Mapping[str, Any], state: RunState | None) -> Iterator[Passage]:
    verdict = result["verdict"]
    decision = str(verdict.get("decision"))
    said = {"GO": "passed it", "NO_GO": "refused it", "INCONCLUSIVE": "could not decide"}.get(decision, "")
    goal = quoted(state.goal) if state is not None else ""
    model = result.get("model") or result.get("canary") or ""
    rows = [row for row in verdict.get("rows", ()) if isinstance(row, Mapping)]
    about = f"{record.skill} step {record.step} judged {model} {decision}: it {said}."
    against = f"Compared with {result['against']}." if result.get("against") else ""
    failed = "; ".join(
        f"{row.get('name')} {row.get('decision')}, {row.get('message')}"
        for row in rows
        if row.get("decision") != "GO"
    )
    notes = [f"Note: {note}." for note in verdict.get("notes", ())]
    lead = "Rows that do not say GO" if decision == "GO" else "Why it was not passed"
    why = f"{lead}: {failed}." if failed else "Every row passed."
    sentences = [about, f"The run's goal is {goal}.", against, why, *notes]
    title = f"Verdict {decision} of {record.step}"
    words = words_for(f"verdict.{decision}", f"skill.{record.skill}")
    yield _passage(record, f"verdict:{record.seq}", "verdict", title, sentences, words)
    for place, row in enumerate(rows):
        figures = in_words(row, frozenset({"message", "name", "decision", "p_go", "p_nogo"}))
        sentences = [
            f"Row {row.get('name')} of the verdict {decision} by {record.step} says {row.get('decision')}: "
            f"{row.get('message')}.",
            f"{figures}.",
            f"The run's goal is {goal}.",
            against,
        ]
        title = f"Row {row.get('name')}: {row.get('decision')}"
        words = words_for(*_row_words(row))
        yield _passage(record, f"verdict:{record.seq}:{place}", "verdict", title, sentences, words)


def _row_words(row: Mapping[str, Any]) -> Iterator[str]:
    first = str(row.get("name", "")).partition(" ")[0]
    yield f"row.{first}"
    if row.get("bar") is not None and first != "drop":
        yield "row.bar"
    yield f"verdict.{row.get('decision')}"


def _release(record: Record, request: Mapping[str, Any], result: Mapping[str, Any]) -> Passage:
    told = in_words({**request, **result}, _UNTOLD)
    release = result.get("canary") or result.get("release") or ""
    sentences = [
        f"{record.skill} changed endpoint {result.get('endpoint', '')} on {_day(record.time)} UTC: release "
        f"{release}, by {record.actor}.",
        f"{told}.",
    ]
    title = f"Endpoint {result.get('endpoint', '')}: {record.skill} {release}"
    words = words_for(f"release.{record.skill}")
    return _passage(record, f"release:{record.seq}", "release", title, sentences, words)


def _passage(
    record: Record, name: str, kind: str, title: str, sentences: list[str], words: str = ""
) -> Passage:
    detail = record.detail
    endpoint = next(
        (
            str(part["endpoint"])
            for part in (detail.get("result"), detail.get("request"))
            if isinstance(part, Mapping) and part.get("endpoint")
        ),
        "",
    )
    digest = hashlib.sha256(f"{name}:{record.hash}".encode()).hexdigest()[:12]
    return Passage(
        id=f"{name[:120]}:{digest}",
        kind=kind,
        title=passage_text([title])[:300],
        text=passage_text(sentences),
        seq=record.seq,
        run=record.run or "",
        endpoint=endpoint,
        time=microseconds(record.time) or 0,
        source=f"opswright audit show {record.seq}",
        asked_as=words,
    )


def _day(time: str) -> str:
    return time[:16].replace("T", " ")
