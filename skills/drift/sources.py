"""What a window of traffic is compared with: a dataset, or earlier traffic of the same endpoint."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...core.artifact_refs import ArtifactRef, BundleRef, DatasetRef
from ...core.contract import StepContext
from ...core.errors import AskError, OpswrightError
from .checks import least_answers

if TYPE_CHECKING:
    import polars as pl

    from .request import DriftRequest

_ANSWER_TOKENS = 64


@dataclass(frozen=True)
class ReferenceSource:
    """Texts and answers to compare with. `key` names them; `note` says why there are no answers, if so.

    dataset: what the served model learned from, where that is known. labels: those it may answer; None for
    free text.
    """

    key: str
    in_words: str
    texts: list[str]
    labels: list[str] | None
    answers: list[str] | None
    dataset: DatasetRef | None
    note: str = ""
    is_traffic: bool = False

    @property
    def parents(self) -> list[ArtifactRef]:
        """The artifacts it was made from."""
        return [] if self.dataset is None else [self.dataset]

    def masked(self) -> ReferenceSource:
        """The same with personal data masked, as in the traffic log: that must not pass for a change."""
        from ...data.personal import mask

        answers = None if self.answers is None else [mask(answer) for answer in self.answers]
        return replace(self, texts=[mask(text) for text in self.texts], answers=answers)


def find_source(request: DriftRequest, ctx: StepContext) -> ReferenceSource:
    """The reference that was asked for; by default what the stable release's model learned from."""
    bundle = _stable_bundle(request.endpoint, ctx)
    dataset = request.reference or _learned_from(bundle, ctx)
    if request.reference_from is not None or request.reference_until is not None:
        return _earlier_traffic(request, ctx, dataset)
    if dataset is None:
        raise AskError(
            f"what the model of endpoint '{request.endpoint}' learned from is not known. Name a dataset as "
            "`reference`, or earlier traffic by `reference_from` and `reference_until`."
        )
    return _from_dataset(request, ctx, dataset, bundle)


def _stable_bundle(endpoint: str, ctx: StepContext) -> BundleRef | None:
    from ...serving.releases import stable_release

    release = stable_release(ctx.workspace, endpoint)
    return None if release is None else release.bundle


def _learned_from(bundle: BundleRef | None, ctx: StepContext) -> DatasetRef | None:
    from ...evals.lineage import training_dataset

    return None if bundle is None else training_dataset(ctx.artifacts, bundle)


def _earlier_traffic(request: DriftRequest, ctx: StepContext, dataset: DatasetRef | None) -> ReferenceSource:
    """Answered requests of a stretch of time; what the model answered then is what it should answer now."""
    from ...serving.gateway.traffic_log import as_logged, read

    until = as_logged(request.reference_until)
    rows = [
        row
        for row in read(ctx.workspace, request.endpoint, after=request.reference_from, pulled=True)
        if row.status == "ok" and row.text.strip() and (until is None or row.time <= until)
    ]
    if not rows:
        raise AskError(
            f"endpoint '{request.endpoint}' answered no request from {request.reference_from or 'its start'} "
            f"to {request.reference_until or 'now'}. Name a time with traffic."
        )
    labels = _labels(ctx, dataset) if dataset is not None else None
    return ReferenceSource(
        f"traffic {rows[0].time} {rows[-1].time}",
        f"{len(rows):,} requests answered from {rows[0].time} to {rows[-1].time}",
        [row.text for row in rows],
        labels,
        [row.output or "" for row in rows],
        dataset,
        is_traffic=True,
    )


def _from_dataset(
    request: DriftRequest, ctx: StepContext, dataset: DatasetRef, bundle: BundleRef | None
) -> ReferenceSource:
    rows = _rows(ctx, dataset)
    train = rows.filter(rows["split"] == "train")
    held_out = rows.filter(rows["split"] != "train")
    texts = (train if len(train) else held_out)["text"].to_list()
    answers, note = _answers_to(held_out["text"].to_list(), request, ctx, bundle)
    labels = _labels(ctx, dataset)
    least = least_answers(labels)
    if answers is not None and len(answers) < least:
        note = f"answers were not compared: {len(answers)} held-out ones, {least} are needed"
        answers = None
    kind = "training" if len(train) else "held-out"
    return ReferenceSource(
        str(dataset),
        f"{len(texts):,} {kind} texts",
        texts,
        labels,
        answers,
        dataset,
        note,
    )


def _rows(ctx: StepContext, dataset: DatasetRef) -> pl.DataFrame:
    import polars as pl

    path = ctx.artifacts.open(dataset).path / "rows.parquet"
    return pl.read_parquet(path, columns=["text", "label", "split"])


def _labels(ctx: StepContext, dataset: DatasetRef) -> list[str] | None:
    """Every label of a dataset of the task `classify`; None for another task, whose answers are free text."""
    if ctx.artifacts.open(dataset).facts.get("task", "classify") != "classify":
        return None
    return [str(label) for label in _rows(ctx, dataset)["label"].drop_nulls().unique().sort().to_list()]


def _answers_to(
    texts: list[str], request: DriftRequest, ctx: StepContext, bundle: BundleRef | None
) -> tuple[list[str] | None, str]:
    """What the served model answers to texts it did not learn from, or why nobody can say."""
    if request.held_out == 0:
        return None, "answers were not compared: held_out is 0"
    if bundle is None:
        return None, "answers were not compared: the endpoint has no stable release to ask"
    if not texts:
        return None, "answers were not compared: the dataset has no held-out texts"
    from ...core.install import not_installed
    from ...engines import GenerationOptions, user_chat
    from ...engines.registry import engine_target

    chosen = sorted(dict.fromkeys(texts), key=lambda text: hashlib.sha256(text.encode()).digest())
    chosen = chosen[: request.held_out]
    try:
        opened = ctx.artifacts.open(bundle)
        target = engine_target(str(opened.facts.get("target", "")))
        if (missing := not_installed(target.runs_with, *target.run_extras)) is not None:
            return None, f"answers were not compared: {missing.message}"
        with closing(target.open(opened.path / "engine", ctx.settings.train.threads)) as engine:
            results = engine.generate(
                [user_chat(text) for text in chosen], GenerationOptions(max_tokens=_ANSWER_TOKENS)
            )
    except OpswrightError as error:
        return None, f"answers were not compared: {error}"
    return [result.text.strip() for result in results if result.text is not None], ""
