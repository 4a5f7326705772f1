"""The `drift` skill: a window of an endpoint's traffic against its training data, or earlier traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ...core.artifact_refs import DriftReportRef
from ...core.contract import Cost, Effect, Finding, StepContext, skill
from ...core.errors import AskError
from .request import LEAST_WINDOW, DriftRequest, DriftResult, TestFigures

if TYPE_CHECKING:
    from ...core.machine import Machine
    from ...core.workspace import Workspace
    from .checks import Comparison
    from .evidence import DriftEvidence
    from .sources import ReferenceSource

__all__ = ["DriftRequest", "DriftResult", "TestFigures", "answered", "drift", "judge"]


class TrafficLike(Protocol):
    """What drift reads of one request in a traffic log."""

    @property
    def time(self) -> str:
        """When it was answered, ISO 8601."""

    @property
    def text(self) -> str:
        """What the user wrote."""

    @property
    def output(self) -> str | None:
        """What the model answered."""

    @property
    def status(self) -> str:
        """`ok`, `blocked` or `error`."""


def _preflight(request: DriftRequest, machine: Machine, workspace: Workspace) -> list[Finding]:
    if (workspace.endpoints / request.endpoint).is_dir():
        return [Finding(level="ok", message=f"endpoint {request.endpoint} has a traffic log.")]
    return [
        Finding(
            level="warn",
            message=f"endpoint {request.endpoint} has no traffic yet.",
            fix=f"drift needs at least {LEAST_WINDOW} answered requests when it runs.",
        )
    ]


def _estimate(request: DriftRequest, machine: Machine, workspace: Workspace) -> Cost:
    return Cost(minutes=0.2, gpu_hours=0, disk_bytes=1_000_000, usd=0)


@skill(
    effect=Effect.WRITES,
    summary="Compare an endpoint's latest traffic with its training data or earlier traffic; raise an alarm.",
    phrases=[
        "is there drift on {endpoint}",
        "is there any drift on {endpoint}",
        "is there drift at {endpoint}",
        "does {endpoint} drift",
        "drift check on {endpoint}",
        "drift check of {endpoint}",
        "drift detection on {endpoint}",
        "drift detection for {endpoint}",
        "drift analysis of {endpoint}",
        "look at {endpoint} for drift",
        "look at the traffic of {endpoint}",
        "see if {endpoint} drifted",
        "see whether {endpoint} drifted",
        "check if {endpoint} drifted",
        "drift on {endpoint}",
        "drift of {endpoint}",
        "check {endpoint} for drift",
        "check {endpoint} for drift against {reference}",
        "check drift on {endpoint}",
        "check drift of {endpoint}",
        "check for drift on {endpoint}",
        "check the drift on {endpoint}",
        "check the drift of {endpoint}",
        "check the traffic of {endpoint}",
        "check the traffic on {endpoint}",
        "look for drift on {endpoint}",
        "test {endpoint} for drift",
        "test for drift on {endpoint}",
        "measure drift on {endpoint}",
        "measure the drift of {endpoint}",
        "detect drift on {endpoint}",
        "compare the traffic of {endpoint} with {reference}",
        "compare traffic of {endpoint} with {reference}",
        "has the traffic of {endpoint} changed",
        "has traffic on {endpoint} changed",
        "did the traffic of {endpoint} change",
        "are users of {endpoint} asking something new",
        "check whether there is drift on {endpoint}",
        "check if there is drift on {endpoint}",
        "see if there is drift on {endpoint}",
        "see whether there is drift on {endpoint}",
        "look if there is drift on {endpoint}",
        "look whether there is drift on {endpoint}",
        "find out whether there is drift on {endpoint}",
        "did {endpoint} drift",
        "has {endpoint} drifted",
        "is {endpoint} drifting",
        "is the traffic of {endpoint} drifting",
        "check whether {endpoint} drifts",
        "drift test on {endpoint}",
        "look at drift on {endpoint}",
        "drift report for {endpoint}",
        "drift report of {endpoint}",
        "drift check for {endpoint}",
        "compare {endpoint} with {reference}",
        "what is the drift like on {endpoint}",
        "what is the drift on {endpoint}",
        "how is the drift on {endpoint}",
        "how much drift is there on {endpoint}",
        "any drift on {endpoint}",
        "has anything drifted on {endpoint}",
        "did anything drift on {endpoint}",
        "is anything drifting on {endpoint}",
        "has the traffic on {endpoint} drifted",
        "has the traffic on {endpoint} changed",
        "find out if {endpoint} drifted",
        "find out whether {endpoint} drifted",
        "check whether {endpoint} drifted",
        "run a drift check on {endpoint}",
        "watch {endpoint} for drift",
        "inspect {endpoint} for drift",
        "has {endpoint} changed",
        "did the traffic on {endpoint} change",
        "did traffic on {endpoint} change",
        "did the questions on {endpoint} change",
        "have the questions on {endpoint} changed",
        "have the requests on {endpoint} changed",
        "are people asking {endpoint} something new",
        "are people on {endpoint} asking something new",
        "does the traffic on {endpoint} still look like {reference}",
        "does the traffic of {endpoint} differ from {reference}",
        "does {endpoint} still get what it was trained on",
        "compare what {endpoint} gets with {reference}",
        "compare the latest traffic of {endpoint} with {reference}",
        "compare the latest traffic on {endpoint} with {reference}",
        "compare the traffic on {endpoint} with {reference}",
        "compare traffic on {endpoint} with {reference}",
        "compare {endpoint} against {reference}",
        "look whether {endpoint} drifted",
        "look if {endpoint} drifted",
        "drift analysis on {endpoint}",
        "drift analysis for {endpoint}",
        "examine {endpoint} for drift",
        "scan {endpoint} for drift",
        "has there been drift on {endpoint}",
        "was there drift on {endpoint}",
        "make a drift report for {endpoint}",
        "drift {endpoint}",
    ],
    preflight=_preflight,
    estimate=_estimate,
    reusable=False,
)
def drift(request: DriftRequest, ctx: StepContext) -> DriftResult:
    """Test what users write and what the model answers against a reference, and raise an alarm on a change.

    Meaning, novelty and answers decide (Holm); words and length are shown beside them. Half of `alpha` is
    for this window alone, half for all windows since the last alarm together, in which a change too small
    for one adds up. An alarm is data, no error; without one the result says what could have been seen. The
    reference is what the model learned from, another dataset, or earlier traffic: the fair one where users
    never asked what the training set holds, and the sharpest. Raises AskError when fewer than 100 requests
    were answered.

    Example: `/drift endpoint=shop window=300`
    """
    from ...serving.gateway.traffic_log import read

    rows = answered(
        lambda last: read(ctx.workspace, request.endpoint, last=last, after=request.since, pulled=True),
        request.window,
    )
    return judge(request, rows, ctx)


class Reader(Protocol):
    """Gives the last so many requests of an endpoint, oldest first."""

    def __call__(self, last: int, /) -> Sequence[TrafficLike]:
        """The rows."""


def answered(read: Reader, window: int) -> list[TrafficLike]:
    """The last `window` requests that were answered, passing over blocked and failed ones."""
    last = window
    while True:
        rows = read(last)
        kept = [row for row in rows if row.status == "ok" and row.text.strip()]
        if len(kept) >= window or len(rows) < last:
            return kept[-window:]
        last *= 4


def judge(request: DriftRequest, rows: Sequence[TrafficLike], ctx: StepContext) -> DriftResult:
    """Test answered requests against the reference and keep the report as an artifact."""
    from threadpoolctl import threadpool_limits

    from ...data.personal import mask
    from .checks import OTHER_PEOPLE, SAME_PEOPLE, Reference, Window, compare
    from .evidence import after_window, carried
    from .power import visible_share
    from .report import write
    from .sources import find_source

    _check_enough(request, rows)
    source = find_source(request, ctx).masked()
    if source.note:
        ctx.log(source.note)
    window = Window([mask(row.text) for row in rows], [mask(row.output or "") for row in rows])
    level = request.alpha / 2 / request.checks_per_day
    with threadpool_limits(1):  # on a shared machine a second thread made this slower, not faster
        people = SAME_PEOPLE if source.is_traffic else OTHER_PEOPLE
        reference = Reference(source.texts, request.seed, source.labels, source.answers, people)
        ctx.progress(1, 4, "stages")
        found = compare(reference, window, level, request.seed)
        ctx.progress(2, 4, "stages")
        each = level / found.deciding
        share = visible_share(reference.vectors, len(rows), found.meaning, each, request.seed)
        ctx.progress(3, 4, "stages")
        key = f"{request.endpoint} {source.key}"
        before = carried(ctx.artifacts, key, rows[0].time)
        together = after_window(found.p, before, request.alpha / 2, request.checks_per_day)
        tests = _figures(found)
        told = _labelled(ctx, request, rows)
        told |= {"visible_share": share, "alarm": found.alarm or together.alarm}
        about = {**_about(request, source, rows), **told, **together.facts, "level": level}
        about["evidence_key"] = key
        with ctx.artifacts.staging() as stage:
            write(stage, about, reference, window, found)
            facts = {**about, "tests": {name: test.model_dump() for name, test in tests.items()}}
            ref = ctx.artifacts.save(DriftReportRef, stage, facts, source.parents)
    _tell(ctx, tests, together.value)
    ctx.progress(4, 4, "stages")
    return DriftResult(
        report=ref,
        endpoint=request.endpoint,
        compared_with=source.in_words,
        n=len(rows),
        p_value=found.p,
        tests=tests,
        evidence=together.value,
        evidence_bound=together.bound,
        message=_message(found, together, len(rows), level, share),
        note=source.note,
        **told,
    )


def _labelled(ctx: StepContext, request: DriftRequest, rows: Sequence[TrafficLike]) -> dict[str, Any]:
    """How many of the compared requests users labelled, and the share whose answer was right."""
    from ...serving.traffic.samples import labelled_requests, share_right

    labelled = [
        one
        for one in labelled_requests(ctx.workspace, request.endpoint, request.since)
        if rows[0].time <= one.row.time <= rows[-1].time
    ]
    return {"labelled": len(labelled), "labelled_right": share_right(labelled)}


def _figures(found: Comparison) -> dict[str, TestFigures]:
    return {check.name: TestFigures.model_validate(check, from_attributes=True) for check in found.checks}


def _tell(ctx: StepContext, tests: Mapping[str, TestFigures], evidence: float) -> None:
    for name, test in tests.items():
        ctx.metric(f"p_{name}", test.p_corrected)
    ctx.metric("evidence", evidence)


def _check_enough(request: DriftRequest, rows: Sequence[TrafficLike]) -> None:
    """AskError below the fewest requests that can tell a change from chance."""
    if len(rows) < LEAST_WINDOW:
        since = f" since {request.since}" if request.since else ""
        raise AskError(
            f"endpoint '{request.endpoint}' has answered {len(rows)} requests{since}; drift needs at least "
            f"{LEAST_WINDOW} to tell a change from chance. Wait for more traffic or take an earlier `since`."
        )


def _about(request: DriftRequest, source: ReferenceSource, rows: Sequence[TrafficLike]) -> dict[str, Any]:
    """What was compared with what, as the report says it."""
    return {
        "endpoint": request.endpoint,
        "reference": source.dataset,
        "compared_with": source.in_words,
        "reference_rows": len(source.texts),
        "n": len(rows),
        "first": rows[0].time,
        "last": rows[-1].time,
        "alpha": request.alpha,
        "seed": request.seed,
        "note": source.note,
    }


def _message(found: Comparison, together: DriftEvidence, n: int, level: float, share: float | None) -> str:
    """The outcome in words, with what could not have been seen."""
    fired = [check.name for check in found.checks if check.alarm]
    if fired:
        return f"drift alarm by {', '.join(fired)} (p = {found.p:.2g}, {n} requests)"
    if together.alarm:
        return (
            f"drift alarm by {together.windows} windows together (evidence {together.value:.3g}, alarm at "
            f"{together.bound:g}); this one alone: p = {found.p:.2g}, {n} requests"
        )
    seen = (
        f"a topic as new as its own are to each other shows from {share:.0%} of the texts on"
        if share is not None
        else "a topic as new as its own are to each other would not show even in half of the texts"
    )
    return f"no alarm in {n} requests (smallest p = {found.p:.2g}, alarm at {level:.2g}); {seen}"
