"""Skills that put releases behind an endpoint without an engine, and write the traffic they would have had.

The releases go through the real rollout and the rows through the real log; only the answers are made up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from opswright.core.artifact_refs import BundleRef, CheckpointRef, DatasetRef
from opswright.core.contract import Effect, InputPath, Request, Result, StepContext, skill
from opswright.core.workspace import Workspace
from opswright.serving.fleet import EndpointLife, ProbeReply, ServerFacts
from opswright.serving.gateway.traffic_log import TrafficLog, TrafficRow
from opswright.serving.probes import Probe
from opswright.serving.releases import now, read_state
from opswright.serving.rollout import Rollout


class SmallFleet:
    """Serves whatever is desired, at once."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def start(self) -> str:
        return "http://nowhere"

    def facts(self) -> ServerFacts:
        return ServerFacts("small", "1.0")

    def life(self, endpoint: str) -> EndpointLife:
        state = read_state(self.workspace, endpoint)
        return EndpointLife(state.serial, {release.id: None for release in state.releases})

    def ask(
        self,
        endpoint: str,
        asked: str | Probe,
        *,
        release: str | None = None,
        session: str = "",
        rails: bool = True,
    ) -> ProbeReply:
        state = read_state(self.workspace, endpoint)
        is_canary = state.canary is not None and release == state.canary.id
        said_by = release or (state.stable.id if state.stable else "")
        return ProbeReply(200, said_by, "canary" if is_canary else "stable", "fine", 1.0)


class ExcerptRequest(Request):
    domains: tuple[str, ...] = Field(min_length=1, description="What the rows are about.")


class ExcerptResult(Result):
    dataset: DatasetRef


@skill(effect=Effect.WRITES, summary="Take the training rows of some domains.")
def excerpt(request: ExcerptRequest, ctx: StepContext) -> ExcerptResult:
    """All rows of each domain, as `curate` would lay them out.

    Example: `/excerpt domains=banking`
    """
    import polars as pl

    from opswright.data.published import clinc150

    rows = [row for row in clinc150.read_rows(clinc150.FOLDER, "train") if row.domain in request.domains]
    table = pl.DataFrame({"text": [row.text for row in rows], "label": [row.label for row in rows]})
    with ctx.artifacts.staging() as folder:
        table.with_columns(split=pl.lit("train")).write_parquet(folder / "rows.parquet")
        facts = {"rows": len(rows), "domains": list(request.domains)}
        return ExcerptResult(dataset=ctx.artifacts.save(DatasetRef, folder, facts))


class PackRequest(Request):
    model: CheckpointRef


class PackResult(Result):
    bundle: BundleRef


@skill(effect=Effect.WRITES, summary="Wrap a small model as if it were an engine.")
def pack(request: PackRequest, ctx: StepContext) -> PackResult:
    """Keep a reference to it.

    Example: `/pack model=checkpoint:3f2a91`
    """
    with ctx.artifacts.staging() as folder:
        (folder / "manifest.json").write_text("{}")
        return PackResult(bundle=ctx.artifacts.save(BundleRef, folder, {"target": "small"}, [request.model]))


class LaunchRequest(Request):
    bundle: BundleRef
    endpoint: str = "support"
    canary_percent: Annotated[int, Field(ge=1, le=100)] = 100


class LaunchResult(Result):
    release: str
    route: str
    canary_percent: int


@skill(effect=Effect.SERVES, summary="Put a bundle behind an endpoint that has no server.")
def launch(request: LaunchRequest, ctx: StepContext) -> LaunchResult:
    """Deploy it through the real rollout.

    Example: `/launch bundle=bundle:3f2a91 canary_percent=10`
    """
    rollout = Rollout(ctx.workspace, request.endpoint, SmallFleet(ctx.workspace))
    done = rollout.deploy(request.bundle, None, request.canary_percent, key=ctx.idempotency_key)
    percent = done.state.canary_percent if done.route == "canary" else 100
    return LaunchResult(release=done.release.id, route=done.route, canary_percent=percent)


class VisitRequest(Request):
    endpoint: str = "support"
    domains: tuple[str, ...] = Field(min_length=1, description="What the visitors write about.")
    requests: Annotated[int, Field(ge=1)] = 150
    odd: InputPath | None = Field(None, description="A text file; its lines are among what they write.")
    labels: tuple[str, ...] = Field((), description="Answers to choose from; empty: the right ones.")
    seed: int = 1


class VisitResult(Result):
    requests: int


@skill(effect=Effect.WRITES, summary="Have visitors write to an endpoint.", reusable=False)
def visit(request: VisitRequest, ctx: StepContext) -> VisitResult:
    """Log each request as the gateway would: to the canary its share, some blocked, some failed.

    Example: `/visit domains=banking requests=200`
    """
    rng = random.Random(request.seed)
    state = read_state(ctx.workspace, request.endpoint)
    log = TrafficLog(ctx.workspace.endpoints / request.endpoint)
    for number, (text, label) in enumerate(said(request, rng)):
        is_canary = state.canary is not None and rng.random() * 100 < state.canary_percent
        release = state.canary if is_canary else state.stable
        if release is None:
            break
        status, rail, finish = "ok", None, "stop"
        if number % 40 == 7:
            status, rail, finish = "blocked", "topics", "content_filter"
        elif is_canary and number % 3 == 0:
            status, finish = "error", "error: BackendError"
        log.append(
            TrafficRow(
                time=now(),
                id=f"{request.seed}-{number}",
                release=release.id,
                route="canary" if is_canary else "stable",
                text=text,
                output=label if status == "ok" else "",
                status=status,  # type: ignore[arg-type]
                rail=rail,
                latency_ms=round(rng.lognormvariate(2.5 if is_canary else 2, 0.3), 3),
                model_version=release.number,
                finish=finish,
            )
        )
        time.sleep(0.002)
    log.close()
    return VisitResult(requests=request.requests)


def said(request: VisitRequest, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Texts with their answers: the odd ones last, so that they are the newest."""
    from opswright.data.published import clinc150

    odd = request.odd.read_text().splitlines() if request.odd else []
    rows = [row for row in clinc150.read_rows(clinc150.FOLDER, "val") if row.domain in request.domains]
    rng.shuffle(rows)
    texts = [(row.text, row.label) for row in rows[: request.requests - len(odd)]]
    for text, label in [*texts, *((line, "balance") for line in odd)]:
        yield text, rng.choice(request.labels) if request.labels else label
