"""The skill `similar-rows`: rows of a dataset that mean nearly the same, or rows like a text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..core.artifact_refs import DatasetRef
from ..core.contract import Cost, Effect, Finding, Request, Result, StepContext, skill
from ..core.errors import AskError
from ..core.machine import Machine
from ..core.phrasing import Spoken
from ..core.workspace import Workspace
from ..evals.embedder_settings import EmbedderSettings
from ..evals.server_settings import sent_to

_SHOWN_CHARS = 200


class SimilarRowsRequest(Request):
    """Which rows, and what they are compared with."""

    dataset: DatasetRef = Field(description="Dataset whose rows are compared by what they ask.")
    like: str | None = Field(
        None, min_length=1, max_length=20_000, description="Show the rows nearest to this text in meaning."
    )
    row: int | None = Field(None, ge=0, description="Show the rows nearest to the row of this place, from 0.")
    k: Annotated[
        int,
        Spoken(
            (
                "rows",
                "pieces",
                "hits",
                "matches",
                "neighbours",
                "of them",
                "nearest",
                "closest",
                "nearest rows",
                "closest rows",
            )
        ),
    ] = Field(10, ge=1, le=200, description="How many rows are shown with `like` or `row`.")
    min_cosine: float = Field(
        0.9, ge=0.3, le=1, description="Without `like` and `row`: cosine from which two rows are a pair."
    )
    most: Annotated[int, Spoken(("top", "pairs", "best pairs", "nearest pairs"))] = Field(
        50, ge=1, le=1000, description="How many pairs are shown, the nearest."
    )
    embedder: EmbedderSettings | None = Field(
        None,
        description="Who gives vectors; empty: word pieces of these rows, offline, which know no synonyms.",
    )


class SimilarRow(Result):
    """A row that was found."""

    row: int = Field(description="Its place in the dataset, from 0.")
    cosine: float
    text: str
    answer: str
    other_row: int | None = Field(None, description="Of a pair, the place of the other row.")
    other_text: str = ""
    other_answer: str = ""


class SimilarRowsResult(Result):
    """What was found, nearest first."""

    rows: tuple[SimilarRow, ...]
    compared: int = Field(description="Rows that were compared.")
    found: int = Field(description="Pairs, or rows, at the cosine or above it; `rows` shows the nearest.")
    answers_differ: int = Field(description="Pairs whose answers differ: one of the two may be wrong.")


def _preflight(request: SimilarRowsRequest, machine: Machine, workspace: Workspace) -> list[Finding]:
    if request.like is not None and request.row is not None:
        return [Finding(level="stop", message="both like and row are given.", fix="Give one of them.")]
    if request.embedder is None:
        return []
    return [sent_to("embedder", request.embedder, "rows of the dataset")]


def _estimate(request: SimilarRowsRequest, machine: Machine, workspace: Workspace) -> Cost:
    if request.embedder is not None:  # nobody knows what it takes
        return Cost(gpu_hours=0, disk_bytes=100_000_000, tokens=None)
    return Cost(minutes=1, gpu_hours=0, usd=0, disk_bytes=100_000_000)


@skill(
    effect=Effect.READS,
    summary="Find rows of a dataset that mean nearly the same, or rows like a text.",
    phrases=[
        "rows of {dataset} like {like}",
        "duplicates by meaning in {dataset}",
        "find rows of {dataset} like {like}",
        "find rows of {dataset} nearest to {like}",
        "find rows in {dataset} closest to {like}",
        "rows of {dataset} nearest to {like}",
        "rows of {dataset} closest to {like}",
        "find rows in {dataset} like {like}",
        "find rows in {dataset} similar to {like}",
        "show rows of {dataset} like {like}",
        "show rows of {dataset} that are like {like}",
        "show me rows of {dataset} like {like}",
        "which rows of {dataset} are like {like}",
        "similar rows in {dataset}",
        "similar rows search in {dataset} for {like}",
        "search similar rows in {dataset} for {like}",
        "pairs in {dataset}",
        "which rows in {dataset} are nearly identical",
        "which rows in {dataset} mean the same",
        "which rows in {dataset} are like {like}",
        "find near duplicate rows in {dataset}",
        "look for similar rows in {dataset}",
        "look in {dataset} for rows like {like}",
        "similar rows in {dataset} like {like}",
        "find similar rows in {dataset}",
        "find rows in {dataset} that mean the same",
        "find duplicates by meaning in {dataset}",
        "find near duplicates in {dataset}",
        "search for near duplicates in {dataset}",
        "search near duplicates in {dataset}",
        "search {dataset} for near duplicates",
        "check {dataset} for near duplicates",
        "show near duplicates in {dataset}",
        "are there near duplicates in {dataset}",
        "are there near identical rows in {dataset}",
        "find near identical rows in {dataset}",
        "search {dataset} for {like}",
        "look for near duplicates in {dataset}",
        "search {dataset} for rows like {like}",
        "search in {dataset} for rows like {like}",
        "search in {dataset} rows like {like}",
        "search in {dataset} the rows like {like}",
        "find examples in {dataset} like {like}",
        "show me rows in {dataset} like {like}",
        "look for rows like {like} in {dataset}",
        "find rows like {like} in {dataset}",
        "near duplicates in {dataset}",
        "near duplicates of {dataset}",
        "rows in {dataset} like {like}",
        "list near duplicates in {dataset}",
        "rows similar to {like} in {dataset}",
        "rows like {like} in {dataset}",
        "rows closest to {like} in {dataset}",
        "rows nearest to {like} in {dataset}",
        "which rows of {dataset} resemble {like}",
        "which rows in {dataset} resemble {like}",
        "rows in {dataset} similar to {like}",
        "rows in {dataset} closest to {like}",
        "rows in {dataset} nearest to {like}",
        "rows that mean the same in {dataset}",
        "what in {dataset} is like {like}",
        "what in {dataset} is similar to {like}",
        "what rows in {dataset} are like {like}",
        "which rows of {dataset} are similar to {like}",
        "which rows in {dataset} are similar to {like}",
        "which rows in {dataset} are closest to {like}",
        "which rows of {dataset} are closest to {like}",
        "which rows in {dataset} come close to {like}",
        "which rows of {dataset} mean nearly the same",
        "which rows in {dataset} mean nearly the same",
        "are there twins in {dataset}",
        "are there any near duplicates in {dataset}",
        "does {dataset} have near duplicates",
        "does {dataset} contain near duplicates",
        "how many near duplicates are in {dataset}",
        "near identical rows in {dataset}",
        "nearly identical rows in {dataset}",
        "neighbours of {like} in {dataset}",
        "semantic duplicates in {dataset}",
        "similar rows of {dataset}",
        "more rows like {like} in {dataset}",
        "more like {like} in {dataset}",
        "pairs of similar rows in {dataset}",
        "pairs of rows in {dataset} that mean the same",
        "nearest rows to {like} in {dataset}",
        "closest rows to {like} in {dataset}",
        "similarity search in {dataset} for {like}",
        "which rows in {dataset} are close to {like}",
        "rows close to {like} in {dataset}",
        "rows of {dataset} nearest to row {row}",
        "pairs of rows in {dataset}",
        "rows that resemble {like} in {dataset}",
        "rows that resemble {like}",
        "show me rows that resemble {like}",
    ],
    preflight=_preflight,
    estimate=_estimate,
)
def similar_rows(request: SimilarRowsRequest, ctx: StepContext) -> SimilarRowsResult:
    """Compare rows by the vectors of what they ask, in Milvus; nothing of the dataset is changed.

    Example: `/similar-rows dataset=dataset:3f9c2a min_cosine=0.9`
    """
    from ..core.files import sha256_json
    from ..data.dataset import dataset_samples
    from ..data.sample import asked_of
    from ..engines.vectors.similar import SimilarTexts
    from ..evals.scorers.text_vectors import embed_function

    samples = list(dataset_samples(ctx.artifacts.open(request.dataset)))
    texts = [asked_of(sample) for sample in samples]
    if len(texts) < 2:
        raise AskError(f"{request.dataset.short} has {len(texts)} rows: there is nothing to compare.")
    if request.row is not None and request.row >= len(texts):
        raise AskError(f"{request.dataset.short} has {len(texts):,} rows, from 0: no row {request.row}.")
    by = request.embedder.document() if request.embedder is not None else {}
    name = sha256_json({"dataset": str(request.dataset), "embedder": by})[:32]
    folder = ctx.workspace.root / "cache" / "similar" / name

    def told(done: int) -> None:
        ctx.progress(done, len(texts), "rows")

    embed = None
    if request.embedder is not None:
        embed = embed_function(
            request.embedder, ctx.workspace.root / "cache" / "embeddings.sqlite", ctx.secret
        )
    with SimilarTexts.of(texts, folder, embed, told) as index:
        if request.like is None and request.row is None:
            pairs = index.pairs(texts, request.min_cosine, told)
            differ = sum(samples[one.first].answer != samples[one.second].answer for one in pairs)
            rows = [
                SimilarRow(
                    row=one.first, cosine=one.cosine,
                    text=texts[one.first][:_SHOWN_CHARS],
                    answer=(samples[one.first].answer or "")[:_SHOWN_CHARS],
                    other_row=one.second, other_text=texts[one.second][:_SHOWN_CHARS],
                    other_answer=(samples[one.second].answer or "")[:_SHOWN_CHARS],
                )
                for one in pairs[: request.most]
            ]  # fmt: skip
            return SimilarRowsResult(
                rows=tuple(rows), compared=len(texts), found=len(pairs), answers_differ=differ
            )
        wanted = request.like if request.like is not None else texts[request.row or 0]
        near = [one for one in index.like(wanted, request.k + 1) if one.place != request.row][: request.k]
    rows = [
        SimilarRow(
            row=one.place, cosine=min(1.0, one.cosine), text=texts[one.place][:_SHOWN_CHARS],
            answer=(samples[one.place].answer or "")[:_SHOWN_CHARS],
        )
        for one in near
    ]  # fmt: skip
    return SimilarRowsResult(rows=tuple(rows), compared=len(texts), found=len(rows), answers_differ=0)
