"""What `curate` is asked, and what it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ...core.artifact_refs import DatasetRef
from ...core.contract import InputPath, Request, Result
from ...core.errors import AskError
from ...core.phrasing import Spoken
from ...data.columns import Columns
from ...data.filters import FILTERS, filters_needing_words, make_filter
from ...data.read import TEXT_COLUMN, Layout, Source
from ...data.remote import RemoteSource
from ...data.row_shapes import LABEL_COLUMN
from ...data.rows import Reason
from ...data.sample import Task
from ...evals.embedder_settings import EmbedderSettings

Share = Annotated[float, Field(ge=0.5, le=1.0)]


LEAKS = {reason: reason.removeprefix("golden_") for reason in Reason if reason.startswith("golden_")}


class GoldenEmbedder(EmbedderSettings):
    """An embedder that looks for golden rows in other words."""

    min_cosine: float = Field(
        gt=0,
        le=1,
        description="From which cosine on a row is near a golden one. What is near differs from embedder to "
        "embedder: count first, and look at the card.",
    )
    near: Literal["count", "drop"] = Field(
        "count", description="drop: leave out rows that are near, and those that have no vector."
    )


class SemanticDuplicates(Request):
    """Which rows count as meaning the same."""

    min_cosine: float = Field(
        0.95,
        ge=0.5,
        le=1,
        description="From which cosine on two rows with one answer are one. What is near differs from "
        "embedder to embedder: look with `similar-rows` first.",
    )
    embedder: EmbedderSettings | None = Field(
        None,
        description="Who gives vectors of what rows ask; empty: word pieces of these rows, offline, which "
        "know no synonyms.",
    )


class CurateRequest(Request):
    """Raw samples, and how strictly they are cleaned."""

    source: InputPath | RemoteSource = Field(
        description="File, or folder, with rows of any usual shape; or where they lie elsewhere: "
        "hf:datasets/owner/name@commit, s3://..., gs://..., az://..., https://...",
    )
    source_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        None,
        description="SHA-256 of what lies elsewhere, so that the plan's id covers it, as a commit does.",
    )
    layout: Layout = Field(Layout.AUTO, description="Layout of the source; auto looks at names and endings.")
    split: str | None = Field(
        None,
        description="Which of its own splits to read, where a published data set has some; by default train.",
    )
    text_column: str = Field(TEXT_COLUMN, min_length=1, description="Column or JSON key of the text.")
    label_column: str = Field(LABEL_COLUMN, min_length=1, description="Column or JSON key of the label.")
    domain_column: str | None = Field(None, description="Column or JSON key of the domain, if there is one.")
    group_column: str | None = Field(
        None, description="Column or JSON key; rows that share its value stay on one side of the split."
    )
    columns: Columns | None = Field(
        None,
        description="Which column holds what, where it is not recognised by its name.",
    )
    task: Task | None = Field(None, description="What the rows are for; by default recognised from them.")
    domains: tuple[str, ...] = Field((), description="Keep only rows of these domains; empty keeps all.")
    golden: DatasetRef | None = Field(None, description="Rows that must not leak into the dataset.")
    golden_jaccard: Share = Field(
        0.8, description="A row this similar to a golden row is a leak (Jaccard of 5-character shingles)."
    )
    golden_embedder: GoldenEmbedder | None = Field(
        None,
        description="Finds rows that ask in other words what a golden row asks; each row's question is sent "
        "to it. Rows of one label are near each other, so for `classify` it counts better than it decides.",
    )
    near_duplicate_jaccard: Annotated[
        Share,
        Spoken(
            (
                "similarity",
                "similar",
                "jaccard",
                "threshold",
                "duplicates",
                "near duplicates",
                "dedup",
                "dedupe",
                "deduplicate",
            )
        ),
    ] = Field(
        0.9,
        description="Of two rows this similar, with one label, the first stays; 1 drops only equal ones.",
    )
    semantic_duplicates: SemanticDuplicates | None = Field(
        None,
        description="Also leave out rows that mean what an earlier one does and have its answer, by vectors "
        "in Milvus; of at most 100,000 rows.",
    )
    replay: Annotated[DatasetRef | None, Spoken(("mix in", "mixed in", "mixing in"))] = Field(
        None, description="Earlier dataset to mix in, against forgetting."
    )
    replay_ratio: float = Field(0.0, ge=0, le=100, description="Rows of `replay` for each new row.")
    validation_fraction: float = Field(
        0.02, ge=0, le=0.5, description="Share of the new rows kept for validation loss."
    )
    max_line_bytes: int = Field(
        1_000_000, ge=100, description="A longer line is dropped (in CSV: refused) without reading it whole."
    )
    filters: tuple[str, ...] = Field(
        (),
        description=f"Filters in order, each `name` or `name:limit=value:...`: {', '.join(FILTERS)}.",
    )
    toxic_words: InputPath | None = Field(
        None, description="Words of the filter toxicity, one a line; by default the shipped English list."
    )
    personal_data: Annotated[
        Literal["keep", "mask"],
        Spoken(
            values={
                "mask": (
                    "personal data masked",
                    "remove personal data",
                    "without personal data",
                    "leave out personal data",
                    "take out personal data",
                    "strip personal data",
                    "hide personal data",
                    "anonymised",
                    "anonymise",
                    "anonymize",
                    "anonymized",
                )
            }
        ),
    ] = Field(
        "keep",
        description="mask: a mail address, card number or the like becomes <email>, <card>.",
    )
    own_answers: Annotated[
        Literal["keep", "drop"],
        Spoken(values={"drop": ("drop own answers", "drop our own answers", "without own answers")}),
    ] = Field(
        "keep",
        description="drop: leave out rows whose answer an endpoint of this workspace wrote, by the row's id "
        "or tags, or nearly as its traffic log has it. keep: they are counted where the log has them word "
        "for word.",
    )
    memory_mb: int = Field(
        512,
        ge=16,
        description="MB that comparing may hold at once, beside 50 bytes a row; the rest is on disk.",
    )
    seed: int = Field(1111, ge=0, description="Seed of split, replay sample and order.")
    compute: Literal["local", "ray"] | None = Field(
        None,
        description="Where rows are judged and compared: this machine, or a Ray cluster; by default as the "
        "setting compute.curate says. The same rows come out.",
    )
    dedup: Literal["cpu", "gpu"] = Field(
        "cpu",
        description="gpu: NeMo Curator's deduplication by RAPIDS, compiled and not run: pre-flight shows "
        "what would be asked of it, and stops.",
    )

    @model_validator(mode="before")
    @classmethod
    def _an_address_is_no_path(cls, values: Any) -> Any:
        if isinstance(values, dict) and RemoteSource.is_one(source := values.get("source")):
            try:
                return {**values, "source": RemoteSource.checked(source)}
            except ValueError as error:  # explained as it is: what else is said of a field repeats its value
                raise AskError(f"curate: {error}.") from None
        return values

    @model_validator(mode="after")
    def _filters_are_known(self) -> Self:
        for asked in self.filters:
            make_filter(asked)
        if self.toxic_words is not None and not filters_needing_words(self.filters):
            raise AskError("toxic_words is given, but no filter looks for them. Add toxicity to filters.")
        return self

    @model_validator(mode="after")
    def _an_embedder_has_golden_rows(self) -> Self:
        if self.golden_embedder is not None and self.golden is None:
            raise AskError("golden_embedder is given, and no golden rows to compare with. Give golden too.")
        return self

    @property
    def hides_personal_data(self) -> bool:
        """Whether personal data is masked or dropped, so that no report may show it either."""
        dropped = any(asked.partition(":")[0].strip() == "personal_data" for asked in self.filters)
        return dropped or self.personal_data == "mask"

    @property
    def is_repeatable(self) -> bool:
        """Whether the request alone decides what comes out: no traffic, address or embedder of today."""
        pinned = isinstance(self.source, Path) or self.source.is_pinned or self.source_sha256 is not None
        asks = self.semantic_duplicates is not None and self.semantic_duplicates.embedder is not None
        return pinned and self.own_answers == "keep" and self.golden_embedder is None and not asks

    def rows(self, path: Path) -> Source:
        """The new rows as a reader takes them; path: where the source lies on this machine."""
        return Source(
            path,
            self.layout,
            self.split if isinstance(self.source, Path) else None,
            self.text_column,
            self.label_column,
            self.domain_column,
            self.group_column,
            self.max_line_bytes,
            self.columns,
            self.task,
        )


class CurateResult(Result):
    """The dataset and the counts behind it."""

    dataset: DatasetRef
    rows: int = Field(description="Rows in the dataset, of both splits.")
    train_rows: int
    validation_rows: int
    labels: int = Field(description="Different labels; 0 where answers are free.")
    task: Task = Field(description="What the rows are for: it decides how they were cleaned and split.")
    columns: dict[str, str] = Field(description="Columns that were taken, and what for.")
    replay_rows: int = Field(description="Rows that came from `replay`.")
    dropped: dict[str, int] = Field(description="Rows left out, by reason.")
    leaked: dict[str, int] = Field(description="Of these, rows of the golden set, by how they were found.")
    unused: dict[str, int] = Field(
        description="Fields of the source that the dataset does not have, and how many rows held one."
    )
    masked_rows: int = Field(0, description="Rows in which personal data was masked.")
    source_sha256: str = Field("", description="SHA-256 of a source that was fetched; empty for a file here.")
    own_answers: int = Field(
        0, description="Rows whose answer an endpoint of this workspace wrote; in the dataset unless dropped."
    )
    near_golden: int = Field(
        0, description="Rows near a golden one by `golden_embedder`; in the dataset unless it drops them."
    )
    semantic_embedder: str = Field(
        "", description="Who told which rows mean the same; empty where nobody was asked."
    )
    conflicts: int = Field(description="Texts that came with more than one label.")
    rows_left_out: str = Field(
        description="The most frequent of `dropped` in a line; empty when there are none."
    )
    fields_left_out: str = Field(
        description="The most frequent of `unused` in a line; empty when there are none."
    )
