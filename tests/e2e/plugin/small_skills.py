"""Small skills with real effects, brought by a package of their own as any other package would bring some."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated

from pydantic import Field

from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.contract import Effect, InputPath, Request, Result, StepContext, skill


class CollectRequest(Request):
    source: InputPath = Field(description="A text file, a row a line.")
    least_rows: Annotated[int, Field(ge=0)] = 1


class CollectResult(Result):
    dataset: DatasetRef
    rows: int
    first: str


@skill(effect=Effect.WRITES, summary="Collect the lines of a file.")
def collect(request: CollectRequest, ctx: StepContext) -> CollectResult:
    """Keep the lines as a dataset.

    Example: `/collect source=lines.txt`
    """
    lines = request.source.read_text().splitlines()
    for line in lines:
        ctx.log(line)
    with ctx.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("\n".join(lines))
        ref = ctx.artifacts.save(DatasetRef, folder, {"rows": len(lines)})
    ctx.metric("rows", len(lines))
    return CollectResult(dataset=ref, rows=len(lines), first=lines[0])


class PractiseRequest(Request):
    data: DatasetRef
    steps: Annotated[int, Field(ge=1)] = 20
    seconds: Annotated[float, Field(ge=0, description="How long it takes.")] = 0.2


class PractiseResult(Result):
    checkpoint: CheckpointRef
    loss: float


@skill(effect=Effect.WRITES, summary="Go through the rows and call it a model.", reusable=False)
def practise(request: PractiseRequest, ctx: StepContext) -> PractiseResult:
    """Take some time, with progress and a loss that falls; none where the project holds a file `go`.

    Example: `/practise data=dataset:3f2a91 seconds=5`
    """
    data = ctx.artifacts.open(request.data)
    loss, go = 0.0, ctx.workspace.root.parent / "go"
    for step in range(1, request.steps + 1):
        if not go.exists():
            time.sleep(request.seconds / request.steps)
        loss = 3 * math.exp(-step / request.steps * 3) + 0.1
        ctx.metric("loss", loss, step)
        ctx.progress(step, request.steps, "steps")
    with ctx.artifacts.staging() as folder:
        (folder / "config.json").write_text(f'{{"rows": {data.facts["rows"]}}}')
        ref = ctx.artifacts.save(CheckpointRef, folder, {"steps": request.steps}, [request.data])
    return PractiseResult(checkpoint=ref, loss=loss)


class AnnounceRequest(Request):
    model: CheckpointRef
    board: Path


class AnnounceResult(Result):
    line: str


@skill(effect=Effect.SERVES, summary="Put a line on a board, as often as it is called.")
def announce(request: AnnounceRequest, ctx: StepContext) -> AnnounceResult:
    """Add a line even when it is there: a step that ran twice is seen.

    Example: `/announce model=checkpoint:3f2a91 board=board.txt`
    """
    line = f"{ctx.run_id} {request.model.short}"
    with request.board.open("a") as file:
        file.write(line + "\n")
    return AnnounceResult(line=line)
