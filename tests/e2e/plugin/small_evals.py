"""Skills that measure two small models on a part of a real suite, through the project's own runner."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from opswright.core.artifact_refs import CheckpointRef, DatasetRef, EvalReportRef
from opswright.core.contract import Effect, InputPath, Request, Result, StepContext, skill
from opswright.data.sample import Sample
from opswright.engines import Chat, Engine, GenerationOptions, GenerationResult, Progress
from opswright.evals.suites import Suite

_LABELS_A_DOMAIN, _ITEMS_A_LABEL = 2, 5


class GatherRequest(Request):
    rows_a_label: Annotated[int, Field(ge=1)] = 10


class GatherResult(Result):
    dataset: DatasetRef
    rows: int


@skill(effect=Effect.WRITES, summary="Take some training rows of a few intents.")
def gather(request: GatherRequest, ctx: StepContext) -> GatherResult:
    """The first rows of each label of the part.

    Example: `/gather rows_a_label=5`
    """
    import polars as pl

    from opswright.data.published import clinc150

    labels = {item.answer for item in part().items}
    taken: dict[str, int] = dict.fromkeys((str(label) for label in labels), 0)
    rows = []
    for row in clinc150.read_rows(clinc150.FOLDER, "train"):
        if row.label in labels and taken[row.label] < request.rows_a_label:
            taken[row.label] += 1
            rows.append({"text": row.text, "label": row.label, "split": "train"})
    with ctx.artifacts.staging() as folder:
        pl.DataFrame(rows).write_parquet(folder / "rows.parquet")
        ref = ctx.artifacts.save(DatasetRef, folder, {"rows": len(rows)})
    return GatherResult(dataset=ref, rows=len(rows))


class FitRequest(Request):
    data: DatasetRef
    method: Literal["keyword", "linear"]


class FitResult(Result):
    checkpoint: CheckpointRef


@skill(effect=Effect.WRITES, summary="Make a small model of some rows.")
def fit(request: FitRequest, ctx: StepContext) -> FitResult:
    """Keep the rows and how they are used: nothing larger is needed.

    Example: `/fit data=dataset:3f2a91 method=linear`
    """
    from opswright.data.dataset import training_rows

    rows = training_rows(ctx.artifacts.open(request.data))
    with ctx.artifacts.staging() as folder:
        (folder / "model.json").write_text(json.dumps({"method": request.method, "rows": rows}))
        ref = ctx.artifacts.save(CheckpointRef, folder, {"method": request.method}, [request.data])
    return FitResult(checkpoint=ref)


class MeasureRequest(Request):
    model: CheckpointRef
    suite: Literal["clinc150"] = "clinc150"
    odd: InputPath = Field(description="A text file; its first lines become items too.")


class MeasureResult(Result):
    report: EvalReportRef
    exact_match: float


@skill(effect=Effect.WRITES, summary="Ask a small model a part of a suite.")
def measure(request: MeasureRequest, ctx: StepContext) -> MeasureResult:
    """Write an eval report with its baselines, as `evaluate` does.

    Example: `/measure model=checkpoint:3f2a91 odd=lines.txt`
    """
    from opswright.data.dataset import training_rows
    from opswright.evals.baselines import run_baselines, to_document
    from opswright.evals.lineage import training_dataset
    from opswright.evals.report import BASELINES, ITEMS, REPORT, details_of, facts_of
    from opswright.evals.runner import EvalResult, choose_items, run_suite, score, to_lines

    suite = part(request.odd.read_text().splitlines()[:2])
    slices = suite.slices()
    opened = ctx.artifacts.open(request.model)
    model = opened.read_json("model.json")
    engine = _ENGINES[model["method"]](model["rows"])
    measured = run_suite(
        suite,
        engine,
        str(request.model),
        slices=slices,
        progress=lambda n, of: ctx.progress(n, of, "items"),
    )
    train = training_dataset(ctx.artifacts, request.model)
    assert train is not None
    items = choose_items(suite, None)
    rows = training_rows(ctx.artifacts.open(train))
    run = run_baselines(suite.task, rows, items, lambda n, of: None)
    scored = {
        one.name: EvalResult(
            one.name,
            suite.name,
            suite.digest,
            tuple(slices),
            tuple(
                score(suite.load_scorers(), items, [GenerationResult(text) for text in one.answers], slices)
            ),
        )
        for one in run.baselines
    }
    facts = facts_of(measured, len(items), scored, tuple(suite.groups))
    facts |= {"size_bytes": opened.size_bytes, "train_dataset": str(train)}
    with ctx.artifacts.staging() as folder:
        (folder / ITEMS).write_bytes(to_lines(measured.items))
        (folder / REPORT).write_text(json.dumps({**facts, **details_of(measured)}))
        scores = {name: [dict(item.scores) for item in one.items] for name, one in scored.items()}
        document = to_document(run, [item.id for item in items]) | {"scores": scores}
        (folder / BASELINES).write_text(json.dumps(document))
        ref = ctx.artifacts.save(EvalReportRef, folder, facts, [request.model, train])
    return MeasureResult(report=ref, exact_match=facts["value"])


def part(odd: Sequence[str] = ()) -> Suite:
    """Five items of two intents of each domain of CLINC150, and odd texts with an odd right answer."""
    from opswright.evals.suites import load_suite
    from opswright.ui.demo import example_domains

    labels: dict[str | None, list[str]] = {}
    taken: dict[str, int] = {}
    items = []
    for item in load_suite("clinc150").items:
        answer = str(item.answer)
        known = labels.setdefault(item.tags["domain"], [])
        if answer not in known and len(known) < _LABELS_A_DOMAIN:
            known.append(answer)
        if answer in known and taken.get(answer, 0) < _ITEMS_A_LABEL:
            taken[answer] = taken.get(answer, 0) + 1
            items.append(item)
    items += [
        Sample.of(f"odd-{n}", text, "<b>odd</b>", tags={"domain": "small_talk"}) for n, text in enumerate(odd)
    ]
    groups = {name: {"domain": example_domains(name)} for name in ("old_domains", "new_domains")}
    return Suite("clinc150", tuple(items), groups, slice_tags=("domain",))


class Keyword:
    """Answers the label whose words are all in the text, and otherwise says the text again."""

    version = "keyword 1"

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        self.labels = sorted({label for _, label in rows})

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        answers = []
        for chat in chats:
            prompt = chat[-1]["content"]
            started = time.perf_counter()
            words = set(prompt.lower().split())
            found = next((label for label in self.labels if words.issuperset(label.split())), prompt)
            waited_ms = (time.perf_counter() - started) * 1000
            answers.append(GenerationResult(found, latency_ms=waited_ms))
            if progress is not None:
                progress(len(answers), len(chats))
        return answers

    def close(self) -> None:
        """Nothing to let go."""


class Linear:
    """A linear support vector machine on words and word pairs."""

    version = "linear 1"

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline
        from sklearn.svm import LinearSVC

        self.model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LinearSVC(random_state=0))
        self.model.fit([text for text, _ in rows], [label for _, label in rows])

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        answers = []
        for chat in chats:
            prompt = chat[-1]["content"]
            started = time.perf_counter()
            found = str(self.model.predict([prompt])[0])
            waited_ms = (time.perf_counter() - started) * 1000
            answers.append(GenerationResult(found, latency_ms=waited_ms))
        if progress is not None:
            progress(len(chats), len(chats))
        return answers

    def close(self) -> None:
        """Nothing to let go."""


_ENGINES: dict[str, Callable[[Any], Engine]] = {"keyword": Keyword, "linear": Linear}
