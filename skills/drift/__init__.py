"""The `drift` skill: a window of an endpoint's traffic against the data its model learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from ...core.artifacts import DatasetRef, DriftReportRef
from ...core.contract import Cost, Effect, Finding, Request, Result, StepContext, skill
from ...core.errors import AskError
from ...serving.releases import EndpointName

if TYPE_CHECKING:
    from ...core.machine import Machine
    from ...core.workspace import Workspace

LEAST_WINDOW = 100


class DriftRequest(Request):
    """Which endpoint, against which data."""

    endpoint: EndpointName = Field("support", description="Endpoint whose traffic is looked at.")
    reference: DatasetRef = Field(description="Dataset the served model was trained on.")
    window: Annotated[int, Field(ge=LEAST_WINDOW, le=2000)] = Field(
        300, description="Latest answered requests that are compared, in requests."
    )
    since: str | None = Field(
        None, description="Only requests after this time, ISO 8601; empty: however old they are."
    )
    alpha: Annotated[float, Field(gt=0, le=0.2)] = Field(
        0.01, description="Chance of a false alarm by all tests together, on traffic like the reference."
    )
    seed: int = Field(1111, ge=0, description="Seed of the reference sample and the permutations.")


class TestFigures(BaseModel):
    """One test of a drift report."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    __test__ = False  # no test class of pytest

    statistic: float
    p: float
    p_corrected: float
    alarm: bool


class DriftResult(Result):
    """Whether the traffic has moved, by which tests."""

    report: DriftReportRef
    alarm: bool
    endpoint: str
    n: int = Field(description="Requests compared.")
    p_value: float = Field(description="Smallest p-value after correction.")
    tests: dict[str, TestFigures]
    message: str = Field(description="The outcome in one sentence.")


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
    summary="Compare an endpoint's latest traffic with its model's training data, and raise an alarm.",
    phrases=["is there drift on {endpoint}", "check {endpoint} for drift against {reference}"],
    preflight=_preflight,
    estimate=_estimate,
    reusable=False,
)
def drift(request: DriftRequest, ctx: StepContext) -> DriftResult:
    """Test meaning, length, vocabulary and predicted labels of a window of traffic against training data.

    p-values are corrected together (Holm). An alarm is data, not an error. Measured on CLINC150 with windows
    of 300: a quarter of new traffic is seen nearly always, a tenth seldom (docs/decisions/041-drift.md).
    Raises AskError when fewer than 100 requests were answered.

    Example: `/drift endpoint=support reference=dataset:1a2b3c window=300`
    """
    from ...serving.gateway.traffic_log import read

    rows = answered(
        lambda last: read(ctx.workspace, request.endpoint, last=last, after=request.since), request.window
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
    if len(rows) < LEAST_WINDOW:
        since = f" since {request.since}" if request.since else ""
        raise AskError(
            f"endpoint '{request.endpoint}' has answered {len(rows)} requests{since}; drift needs at least "
            f"{LEAST_WINDOW} to tell a change from chance. Wait for more traffic or take an earlier `since`."
        )
    from threadpoolctl import threadpool_limits

    from ...data.dataset import training_rows
    from .checks import Reference, Window, compare
    from .report import write

    dataset = ctx.artifacts.open(request.reference)
    window = Window([row.text for row in rows], [row.output or "" for row in rows])
    with threadpool_limits(1):  # on a shared machine a second thread made this slower, not faster
        known = training_rows(dataset)
        reference = Reference([t for t, _ in known], [label for _, label in known], request.seed)
        ctx.progress(1, 3, "stages")
        found = compare(reference, window, request.alpha, request.seed)
        ctx.progress(2, 3, "stages")
        tests = {
            check.name: TestFigures.model_validate(check, from_attributes=True) for check in found.checks
        }
        about: dict[str, Any] = {
            "endpoint": request.endpoint,
            "reference": request.reference,
            "reference_rows": len(reference.texts),
            "n": len(rows),
            "first": rows[0].time,
            "last": rows[-1].time,
            "alpha": request.alpha,
            "seed": request.seed,
        }
        with ctx.artifacts.staging() as stage:
            write(stage, about, reference, window, found)
            facts = {
                **about,
                "alarm": found.alarm,
                "tests": {name: test.model_dump() for name, test in tests.items()},
            }
            ref = ctx.artifacts.save(DriftReportRef, stage, facts, [request.reference])
    for name, test in tests.items():
        ctx.metric(f"p_{name}", test.p_corrected)
    ctx.progress(3, 3, "stages")
    return DriftResult(
        report=ref,
        alarm=found.alarm,
        endpoint=request.endpoint,
        n=len(rows),
        p_value=min(test.p_corrected for test in tests.values()),
        tests=tests,
        message=_said(tests, len(rows), request.alpha),
    )


def _said(tests: Mapping[str, TestFigures], n: int, alpha: float) -> str:
    """The verdict in a line."""
    fired = [name for name, test in tests.items() if test.alarm]
    smallest = min(test.p_corrected for test in tests.values())
    if fired:
        return f"drift alarm by {', '.join(fired)} (p = {smallest:.2g}, {n} requests)"
    return f"no drift in {n} requests (smallest p = {smallest:.2g}, alarm at {alpha:g})"
