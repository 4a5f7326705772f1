"""Traces: one per run, a span per attempt at a step, with the ledger's own times.

Ids are made from the run's key, so a trace that is written again replaces itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..ledger import Phase, Record
from ..run_state import RunState, StepState
from .page import Page, run_key
from .status import milliseconds, nanoseconds

if TYPE_CHECKING:
    from mlflow.entities import Span, TraceInfo

_PREVIEW = 500
_TYPES = {"gate": "EVALUATOR"}


def trace_of(
    state: RunState, page: Page, workspace: str, experiment: str, run_id: str
) -> tuple[TraceInfo, list[Span]]:
    """The trace of a run that came to an end, and its spans; `run_id` is its MLflow run."""
    from mlflow.entities import TraceInfo, TraceLocation, TraceState

    key = f"{experiment}/{run_key(workspace, state.run)}"
    trace_id = "tr-" + _digits(key, 32)
    failed = page.status in ("FAILED", "KILLED")
    outcome = {"state": page.tags["state"], "verdict": state.verdict}
    if state.end is not None:
        outcome["message"] = state.end.detail.get("message") or state.end.detail.get("error", {}).get(
            "message"
        )
    info = TraceInfo(
        trace_id=trace_id,
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=page.start_ms,
        execution_duration=milliseconds(state.last) - page.start_ms,
        state=TraceState.ERROR if failed else TraceState.OK,
        request_preview=state.goal[:_PREVIEW],
        response_preview=", ".join(str(value) for value in outcome.values() if value)[:_PREVIEW],
        trace_metadata={
            "mlflow.sourceRun": run_id,
            "mlflow.trace_schema.version": "3",
            "mlflow.trace.user": state.first.actor,
        },
        tags={
            "mlflow.traceName": page.name,
            "mlflow.trace.spansLocation": "TRACKING_STORE",
            "run": state.run,
            "plan": state.plan or "",
        },
    )
    root = _span(
        trace_id,
        key,
        parent=None,
        name=state.goal[:_PREVIEW],
        kind="AGENT",
        start=state.first,
        end=state.last,
        inputs={"goal": state.goal, "source": state.proposal.get("source"), "plan": state.plan},
        outputs=outcome,
        error=outcome.get("message") or "failed" if failed else None,
    )
    spans = [root, *_consent_span(trace_id, key, state)]
    for step in state.begun:
        spans += _step_spans(trace_id, key, state, step)
    return info, spans


def _consent_span(trace_id: str, key: str, state: RunState) -> Iterator[Span]:
    consent = state.consent
    if consent is not None:
        yield _span(
            trace_id,
            f"{key}/consent",
            parent=key,
            name=f"{consent.phase} by {consent.actor}",
            kind="TASK",
            start=state.first,
            end=consent,
            inputs={"plan": consent.plan},
            outputs={"by": consent.actor, "role": consent.role, **consent.detail},
            error=str(consent.detail.get("why") or "denied") if consent.phase == Phase.DENIED else None,
        )


def _step_spans(trace_id: str, key: str, state: RunState, step: StepState) -> Iterator[Span]:
    """A span for each attempt; one that never ended lasts until the next record of the run."""
    for place, start in enumerate(step.records):
        follower = step.records[place + 1] if place + 1 < len(step.records) else None
        if start.phase == Phase.INTENT:
            end = follower if follower is not None else state.last
        elif place and step.records[place - 1].phase == Phase.INTENT:
            continue  # the end of the attempt before
        else:
            end = start  # reused, denied or failed before it began
        stopped = end.phase == Phase.INTENT or end.step != step.id
        error = end.detail.get("error", {}).get("message")
        yield _span(
            trace_id,
            f"{key}/{step.id}/{start.seq}",
            parent=key,
            name=f"{step.number} {step.id} · {step.skill}",
            kind=_TYPES.get(step.skill, "TOOL"),
            start=start,
            end=end,
            inputs=step.request,
            outputs={} if stopped else end.detail.get("result", {}),
            error="stopped before it ended" if stopped else error,
            more={"phase": end.phase, "effect": step.effect, "ledger.seq": start.seq, "ledger.end": end.seq},
        )


def _span(
    trace_id: str,
    key: str,
    *,
    parent: str | None,
    name: str,
    kind: str,
    start: Record,
    end: Record,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    error: object,
    more: Mapping[str, Any] | None = None,
) -> Span:
    from mlflow.entities import Span

    attributes = {
        "mlflow.traceRequestId": trace_id,
        "mlflow.spanType": kind,
        "mlflow.spanInputs": inputs,
        "mlflow.spanOutputs": outputs,
        **(more or {}),
    }
    return Span.from_dict(
        {
            "trace_id": trace_id,
            "span_id": _digits(key, 16),
            "parent_span_id": _digits(parent, 16) if parent else None,
            "name": name,
            "start_time_unix_nano": nanoseconds(start),
            "end_time_unix_nano": nanoseconds(end),
            "status": {
                "code": "STATUS_CODE_ERROR" if error else "STATUS_CODE_OK",
                "message": str(error) if error else "",
            },
            "events": [],
            "attributes": {name: json.dumps(value, default=dict) for name, value in attributes.items()},
        }
    )


def _digits(key: str, count: int) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:count]
