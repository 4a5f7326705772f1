"""The skill `leaderboard`: every measured model and baseline, best first."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..core.contract import Effect, Request, Result, StepContext, skill
from ..core.ledger import Ledger, Phase
from ..core.workspace import Workspace


class LeaderboardRequest(Request):
    """Which reports, and how they are shown."""

    suite: str | None = Field(None, description="Only this suite; by default all.")
    form: Literal["table", "markdown", "json", "csv"] = Field("table", description="Form of `text`.")


class LeaderboardRow(Result):
    """One model, or baseline, on one suite."""

    model: str
    kind: str = Field(description="checkpoint, bundle, endpoint or baseline.")
    suite: str
    suite_digest: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    errors: int
    slices: dict[str, float]
    p50_ms: float | None
    p95_ms: float | None
    size_bytes: int | None
    train_dataset: str | None
    date: str
    verdict: str | None = Field(description="Last gate decision on this report, if any.")
    report: str


class LeaderboardResult(Result):
    """The rows, best first, and the same as text."""

    rows: tuple[LeaderboardRow, ...]
    text: str


@skill(
    effect=Effect.READS,
    says="Show every measured model and its baselines, best first.",
    phrases=["leaderboard", "show the leaderboard", "which model is best", "compare the models"],
)
def leaderboard(ask: LeaderboardRequest, ctx: StepContext) -> LeaderboardResult:
    """List the newest eval report of each model, with the last gate verdict on it, from this workspace.

    Example: `/leaderboard suite=clinc150 form=markdown`
    """
    from dataclasses import asdict

    from ..evals.leaderboard import render, standings
    from ..evals.suites import load_suite

    if ask.suite is not None:
        load_suite(ask.suite)
    lines = standings(ctx.artifacts, ask.suite, last_verdicts(ctx.workspace))
    rows = tuple(LeaderboardRow(**asdict(line)) for line in lines)
    return LeaderboardResult(rows=rows, text=render(lines, ask.form))


def last_verdicts(workspace: Workspace) -> dict[str, str]:
    """The last recorded gate decision on each eval report, by its reference."""
    return dict(_decisions(workspace.ledger))


def _decisions(ledger: Ledger) -> list[tuple[str, str]]:
    """(report, decision) of each finished gate step, in order; the report is in the step's intent."""
    asked: dict[tuple[str | None, str | None], str] = {}
    decided = []
    for record in ledger.records():
        if record.skill != "gate":
            continue
        call = (record.run, record.step)
        if record.phase == Phase.INTENT:
            asked[call] = str(record.detail["request"]["report"])
        elif record.phase == Phase.DONE and call in asked:
            decided.append((asked[call], str(record.detail["result"]["verdict"]["decision"])))
    return decided
