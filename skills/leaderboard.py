"""The skill `leaderboard`: every measured model and baseline, best first."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..core.contract import Effect, Request, Result, StepContext, skill


class LeaderboardRequest(Request):
    """Which reports, and how they are shown."""

    suite: str | None = Field(None, description="Only this suite, by its name; by default all.")
    format: Literal["table", "md", "json", "csv"] = Field("table", description="Format of `text`.")


class LeaderboardLine(Result):
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
    run: str | None = Field(description="Run that made the report, where the ledger knows it.")
    record: int | None = Field(description="The ledger's record of it.")
    goal: str | None = Field(description="Goal of that run's plan.")
    tier: str | None = Field(None, description="Models of one tier are not shown to differ; 1 is the best.")
    ranks: str | None = Field(None, description="The ranks it may have among the models on the suite.")
    named_slices: tuple[str, ...] = Field((), description="Slices that the suite, or the asker, gave a name.")
    fronts: tuple[str, ...] = Field(
        (), description="Prices, of latency and size, at which no model of the suite is better."
    )
    leaked: int | None = Field(
        None, description="Items that are in what it learned from, so that its value may be memory."
    )


class LeaderboardResult(Result):
    """The rows, best first, and the same as text."""

    rows: tuple[LeaderboardLine, ...]
    text: str


@skill(
    effect=Effect.READS,
    summary="Show every measured model and its baselines, best first.",
    phrases=[
        "leaderboard",
        "leaderboard of {suite}",
        "leaderboard for {suite}",
        "table of all models",
        "table with all models",
        "show table with all models",
        "list of all models",
        "model ranking",
        "scores of all models",
        "show the leaderboard",
        "show the leaderboard of {suite}",
        "show the leaderboard for {suite}",
        "show leaderboard",
        "show me the leaderboard",
        "which model is best",
        "compare the models",
        "compare models",
        "compare the models on {suite}",
        "compare all models on {suite}",
        "rank the models",
        "rank the models on {suite}",
        "rank models on {suite}",
        "list the models by score",
        "list the scores",
        "show the scores",
        "show the scores on {suite}",
        "show all scores",
        "show all results on {suite}",
        "show the results on {suite}",
        "ranking of {suite}",
        "ranking of the models on {suite}",
        "ranking of the models in {suite}",
        "ranking of the models",
        "show table of all models",
        "show the table of models",
        "show all models",
        "list the models",
        "list all models",
        "rank the checkpoints",
        "compare the checkpoints",
        "show the ranking",
        "show the best models",
        "show me the ranking",
        "how do the models compare",
        "how do the models rank",
        "which models are there",
        "standings",
        "show the standings",
        "scoreboard",
        "show the scoreboard",
        "overview of all models",
        "how do the models stack up",
        "top models",
        "show me all models",
        "show me the scores",
        "show me the scores on {suite}",
        "ranking",
        "list models",
        "ranking of all models",
        "ranking of all models on {suite}",
        "compare all models",
        "compare all our models",
        "show how the models compare",
        "show how the models compare on {suite}",
        "show the table of all measured models",
        "show table of all measured models",
        "models by score",
        "show me which models there are",
        "show which models there are",
        "show me all the models",
        "what is the ranking",
        "what is the leaderboard",
        "what does the leaderboard say",
        "what does the leaderboard look like",
        "how does the leaderboard look",
        "how do our models compare",
        "how do our models rank",
        "how are the models ranked",
        "how are our models ranked",
        "which models have we measured",
        "what models have we measured",
        "which models are measured",
        "league table",
        "all scores",
        "all measured models",
        "scores on {suite}",
        "results on {suite}",
        "best models on {suite}",
        "ranking on {suite}",
        "leaderboard on {suite}",
        "models ranked by score",
        "every measured model",
        "models by their scores",
        "the scores of all models",
        "table of the models",
        "table of models",
        "list of all models with scores",
        "list of models with scores",
        "board for {suite}",
    ],
)
def leaderboard(request: LeaderboardRequest, ctx: StepContext) -> LeaderboardResult:
    """List the newest eval report of each model, with the last gate verdict on it, from this workspace.

    Example: `/leaderboard suite=shop format=md`
    """
    from dataclasses import asdict

    from ..evals.leaderboard import render
    from ..evals.standings import standings

    lines = standings(ctx.workspace, request.suite)
    rows = tuple(LeaderboardLine(**asdict(line)) for line in lines)
    return LeaderboardResult(rows=rows, text=render(lines, request.format))
