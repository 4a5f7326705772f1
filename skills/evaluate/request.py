"""What the skill `evaluate` is asked, and what it gives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ...core.artifact_refs import (
    AdapterRef,
    BundleRef,
    CheckpointRef,
    ClassifierRef,
    DatasetRef,
    EvalReportRef,
    GuardrailRef,
)
from ...core.contract import InputPath, Request, Result
from ...core.inputs import EndpointUrl
from ...core.phrasing import Spoken
from ...core.suite_source import SuiteSource
from ...data.alterations import Alteration
from ...evals.judges.settings import JudgeSettings, ParaphraserSettings


class EvaluateRequest(Request):
    """A model, and what it is asked."""

    model: CheckpointRef | AdapterRef | ClassifierRef | BundleRef | GuardrailRef | EndpointUrl = Field(
        description="Checkpoint, adapters (on their base, unmerged), classifier (on suites of labels), "
        "bundle, guardrails, or the address of an OpenAI-compatible endpoint."
    )
    suite: SuiteSource = Field(description="Suite to run: its name, or its YAML file.")
    judge: JudgeSettings | None = Field(
        None, description="Whom the suite's judged scorers ask; by default whom the suite names."
    )
    slices: dict[str, tuple[str, ...] | dict[str, tuple[str, ...]]] = Field(
        default_factory=dict,
        description="More slices: a name and values by tag, or values alone of the suite's first sliced tag.",
    )
    trust: InputPath | None = Field(
        None, description="Folder whose Python scorers may be run; without it, none is."
    )
    limit: Annotated[int | None, Spoken(("items", "questions", "samples", "examples", "rows"))] = Field(
        None, ge=1, description="Ask only this many items, the same random ones for every model."
    )
    baselines: bool = Field(True, description="Also fit and ask the baselines, on the model's training rows.")
    robustness: Annotated[
        tuple[Alteration, ...],
        Spoken(
            values={
                "case": ("capitals", "upper case"),
                "typos": ("misspellings",),
                "paraphrase": ("paraphrases",),
            }
        ),
    ] = Field(
        (),
        description="Ask the items again: in capitals (case), with typos, behind a stray sentence (prefix), "
        "with choices and passages in another order (order), in other words (paraphrase).",
    )
    paraphraser: ParaphraserSettings | None = Field(
        None, description="Who writes the paraphrases that the suite does not bring itself."
    )
    train: DatasetRef | None = Field(
        None, description="Training rows of the baselines; by default those the model was trained on."
    )
    max_new_tokens: int | None = Field(
        None, ge=1, le=4096, description="Longest answer, in tokens; by default as the suite says."
    )
    cache: bool = Field(
        True, description="Use what the same model answered before; an endpoint's answers only in one run."
    )
    endpoint_model: str | None = Field(
        None, description="Model name at the endpoint; by default the first it lists."
    )
    api_key_env: str | None = Field(
        None, description="Name of the environment variable that holds the endpoint's key."
    )
    concurrency: Annotated[
        int,
        Spoken(
            ("at a time", "at once", "in parallel", "parallel", "requests at a time", "parallel requests")
        ),
    ] = Field(8, ge=1, le=256, description="Requests to an endpoint at a time.")
    timeout_s: float = Field(30, gt=0, le=3600, description="Seconds an endpoint may take for one answer.")
    requests_per_minute: float | None = Field(
        None, gt=0, description="Requests to an endpoint in a minute, at most; empty: no limit."
    )


class ParaphraseFigures(Result):
    """Of the items that were `asked` for in other words: how many can be used, and who wrote them."""

    asked: int
    usable: int
    own: int = Field(description="Paraphrases that the suite brought itself.")
    refused: dict[str, int] = Field(description="By reason, how many items have none that can be used.")
    model: str | None = None
    url: str | None = None
    prompt: str | None = None
    prompt_digest: str | None = None
    tokens: int = 0


class Robustness(Result):
    """The mean score of the n items that an alteration changes, and how far it fell; with 95 % intervals."""

    n: int
    value: float | None
    low: float
    high: float
    drop: float
    drop_low: float
    drop_high: float
    p_value: float
    changed: float = Field(0.0, description="Share of these items that got another answer.")


class SliceFigure(Result):
    """The mean score of n items with its 95 % interval; value is None without scored items."""

    n: int
    value: float | None
    low: float
    high: float


class JudgeFigures(Result):
    """How one judge did."""

    model: str
    prompt: str
    prompt_digest: str
    judged: int
    failed: int = Field(description="Answers that it gave no readable verdict on; they are in no mean.")
    failures: dict[str, int] = Field(description="How many, by reason.")
    disagreed: float | None = Field(
        None, description="Share of pairs on which it changed its mind when the two were swapped."
    )
    agreement: dict[str, float | None] | None = Field(
        None, description="With people, on the suite's gold answers: n, same, spearman, kappa."
    )


class EvaluateResult(Result):
    """The report and its main figures."""

    report: EvalReportRef
    suite: str
    n: int
    errors: int = Field(description="Items that the engine failed to answer.")
    cut: int = Field(0, description="Answers that were cut at max_new_tokens.")
    refused: int = Field(0, description="Items the model cannot take, as those too long; counted as wrong.")
    metric: str = Field(description="What the suite is judged by: its first scorer.")
    value: float = Field(description="Mean score by it, 0 to 1.")
    low: float
    high: float
    metrics: dict[str, float | None] = Field(description="Mean score by each scorer; None: nothing scored.")
    unscored: int = Field(0, description="Items that the first scorer could not score; they are in no mean.")
    slices: dict[str, SliceFigure]
    baselines: dict[str, float | None] = Field(description="Value of each baseline on the same items.")
    trivial: str | None = Field(None, description="The best baseline that learned nothing.")
    shortcuts: dict[str, float] = Field(
        default_factory=dict, description="Value of rules that know one thing, as a text's length."
    )
    robustness: dict[str, Robustness] = Field(
        default_factory=dict, description="Of each alteration that was asked for."
    )
    reused: int = Field(0, description="Answers that were known from before.")
    leaked: int | None = Field(description="Items that are in the training rows; None: rows not known.")
    judges: dict[str, JudgeFigures] = Field(
        default_factory=dict, description="Of each scorer that is a judge."
    )
    paraphrases: ParaphraseFigures | None = Field(
        None, description="How many items have a usable paraphrase, and why the others have none."
    )
    p50_ms: float | None
    p95_ms: float | None
    totals: dict[str, float] = Field(
        default_factory=dict, description="Figures of the whole that lm-evaluation-harness gives."
    )
    note: str = Field(description="What was not measured or was cut, and why; empty when nothing is.")
