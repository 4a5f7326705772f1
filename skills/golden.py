"""The skill `golden`: a suite's items as the dataset that `curate` keeps out of training."""

from __future__ import annotations

from pydantic import Field

from ..core.artifact_refs import DatasetRef
from ..core.contract import Cost, Effect, Request, Result, StepContext, skill
from ..core.machine import Machine
from ..core.suite_source import SuiteSource
from ..core.workspace import Workspace


class GoldenRequest(Request):
    """Which items."""

    suite: SuiteSource = Field(description="Suite whose items are kept out of training.")
    domains: tuple[str, ...] = Field((), description="Only the items of these domains; empty takes all.")


class GoldenResult(Result):
    """The golden set."""

    dataset: DatasetRef
    items: int


def _estimate(request: GoldenRequest, machine: Machine, workspace: Workspace) -> Cost:
    return Cost(minutes=0.05, gpu_hours=0, usd=0, disk_bytes=2_000_000)


@skill(
    effect=Effect.WRITES,
    summary="Make the golden set of a suite: the rows that must never reach training.",
    phrases=[
        "golden set of {suite}",
        "golden set for {suite}",
        "make the golden set of {suite}",
        "make a golden set from {suite}",
        "create the golden set of {suite}",
        "create a golden set for {suite}",
        "build the golden set of {suite}",
        "build a golden set for {suite}",
        "save the golden set of {suite}",
        "keep {suite} out of training",
        "keep the items of {suite} out of training",
        "hold {suite} out of training",
        "exclude {suite} from training",
        "protect {suite} from leaking",
        "golden {suite}",
        "golden set from {suite}",
        "have {suite} kept out of training",
        "set {suite} aside as golden",
        "make sure {suite} never reaches training",
        "make golden set",
        "keep {suite} away from training",
        "golden set out of {suite}",
        "freeze {suite} as the golden set",
        "freeze the golden set of {suite}",
        "reserve {suite} as golden",
        "lock {suite} away from training",
        "hold back {suite} from training",
        "hold {suite} back from training",
        "keep {suite} from training",
        "keep training away from {suite}",
        "ban {suite} from training",
        "shield {suite} from training",
        "mark {suite} as golden",
        "make {suite} golden",
        "make {suite} the golden set",
        "turn {suite} into a golden set",
        "set aside {suite}",
        "set aside {suite} as golden",
        "put {suite} aside as golden",
        "put {suite} aside as the golden set",
        "put aside {suite} as golden",
        "golden rows of {suite}",
        "golden rows from {suite}",
        "save {suite} as golden",
        "save the items of {suite} as golden",
        "protect the items of {suite} from training",
        "guard {suite} against leaks",
        "lock {suite} out of training",
        "keep the rows of {suite} out of training",
        "leave {suite} out of training",
        "reserve {suite} for testing",
        "exclude the items of {suite} from training",
        "freeze {suite}",
        "make a golden set of {suite}",
        "make a golden set so {suite}",
    ],
    estimate=_estimate,
)
def golden(request: GoldenRequest, ctx: StepContext) -> GoldenResult:
    """Save a suite's items as a dataset of the split `golden`, without training rows: nothing trains on it.

    Example: `/golden suite=suites/shop.yaml`
    """
    from ..data.dataset import write_samples
    from ..data.rows import GOLDEN
    from ..evals.suites import load_suite

    suite = load_suite(request.suite)
    if request.domains:
        suite.check_values("domain", request.domains, "golden")
    items = [
        item for item in suite.items if not request.domains or item.tags.get("domain") in request.domains
    ]
    facts = {
        "rows": len(items),
        "train_rows": 0,
        "validation_rows": 0,
        "labels": len({item.answer for item in items}),
        "domains": sorted({item.tags["domain"] for item in items if "domain" in item.tags}),
        "sources": [f"suite {suite.name}"],
        "golden": True,
        "suite_digest": suite.digest,
    }
    with ctx.artifacts.staging() as folder:
        write_samples(folder, items, GOLDEN, facts)
        dataset = ctx.artifacts.save(DatasetRef, folder, facts)
    ctx.metric("items", len(items))
    return GoldenResult(dataset=dataset, items=len(items))
