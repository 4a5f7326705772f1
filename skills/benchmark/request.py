"""What the skill `benchmark` is asked, and what it gives."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from ...core.artifact_refs import BenchmarkReportRef, BundleRef, CheckpointRef, DatasetRef
from ...core.contract import InputPath, Request, Result
from ...core.inputs import EndpointUrl
from ...core.phrasing import Spoken
from ...core.secrets import SecretName
from ...core.suite_source import SuiteSource

Concurrency = Annotated[int, Field(ge=1, le=1024)]


class BenchmarkRequest(Request):
    """An endpoint, what it is asked, and how hard."""

    model: BundleRef | EndpointUrl = Field(
        description="Address of an OpenAI-compatible endpoint, or a bundle, which is served for it here."
    )
    suite: SuiteSource | None = Field(
        None,
        description="Suite whose prompts are sent: its name, or its YAML file; by default those of a "
        "bundle's training data.",
    )
    data: DatasetRef | None = Field(None, description="Dataset whose validation prompts are sent instead.")
    concurrency: Annotated[
        tuple[Concurrency, ...],
        Spoken(
            (
                "at a time",
                "at once",
                "in parallel",
                "parallel",
                "at the same time",
                "parallel requests",
                "concurrent requests",
                "parallel users",
                "concurrent users",
                "simultaneous users",
                "simultaneous requests",
                "users at once",
                "users at a time",
                "requests at a time",
                "requests at once",
                "requests in parallel",
                "clients",
            )
        ),
    ] = Field(
        (1, 8, 32), min_length=1, max_length=12, description="How many requests at a time, one level each."
    )
    requests: int = Field(100, ge=1, le=1_000_000, description="Requests of a level.")
    seconds: float | None = Field(
        None, gt=0, le=86_400, description="Seconds a level lasts, instead of a number of requests."
    )
    against: BundleRef | EndpointUrl | None = Field(
        None, description="Another endpoint or bundle, measured in turns with the first and compared with it."
    )
    turns: int = Field(
        12, ge=6, le=100, description="With `against`: the turns that each takes at every level."
    )
    warmup: int = Field(8, ge=0, le=10_000, description="Requests before each level that do not count.")
    output_tokens: int = Field(
        64, ge=1, le=32_768, description="Tokens of an answer, at most; exactly, where the server can."
    )
    goodput: dict[str, float] = Field(
        default_factory=dict,
        description="Most ms of a request that is served well, as {ttft_ms: 200, e2el_ms: 2000}.",
    )
    tokenizer: CheckpointRef | InputPath | None = Field(
        None, description="Checkpoint, or folder, whose tokenizer counts where the server does not."
    )
    timeout_s: float = Field(60, gt=0, le=3600, description="Seconds one answer may take, first to last.")
    endpoint_model: str | None = Field(
        None, description="Model name at the endpoint; by default the first it lists."
    )
    key: SecretName | None = Field(
        None, description="Where the endpoint's key is: secret:env:NAME or secret:file:PATH."
    )

    against_model: str | None = Field(None, description="Model name at the other endpoint.")
    against_key: SecretName | None = Field(None, description="Where the other endpoint's key is.")

    @field_validator("concurrency")
    @classmethod
    def _levels_differ(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(levels)) < len(levels):
            raise ValueError("each concurrency may stand once")
        return levels

    @model_validator(mode="after")
    def _has_prompts(self) -> Self:
        has_bundle = isinstance(self.model, BundleRef) or isinstance(self.against, BundleRef)
        if self.suite is not None and self.data is not None:
            raise ValueError("give either `suite` or `data`: the prompts that are sent")
        if self.suite is None and self.data is None and not has_bundle:
            raise ValueError("give `suite` or `data`: the prompts that are sent")
        if self.against is not None and self.seconds is None and self.requests < self.turns:
            raise ValueError(f"{self.requests} requests cannot be shared out to {self.turns} turns")
        return self


class LevelFigures(Result):
    """One level; latencies in ms are medians and 95th percentiles of whole answers."""

    concurrency: int
    completed: int
    failed: int
    ttft_p50_ms: float | None = Field(description="Time to first token, median.")
    ttft_p95_ms: float | None
    tpot_p50_ms: float | None = Field(description="Time per output token after the first, median.")
    e2el_p50_ms: float | None = Field(description="End-to-end latency, median.")
    e2el_p95_ms: float | None
    e2el_p99_ms: float | None
    output_tokens_per_s: float
    requests_per_s: float
    goodput_requests_per_s: float | None = None
    errors: dict[str, int] = Field(description="Requests that failed, by kind.")


class BenchmarkResult(Result):
    """The report and its main figures."""

    report: BenchmarkReportRef
    server: str = Field(description="What the server says it is.")
    served_model: str = Field(description="The model's name there.")
    levels: tuple[LevelFigures, ...]
    counted_by: str = Field(description="Who counted the tokens: usage, tokenizer or chunks.")
    against: BenchmarkReportRef | None = Field(None, description="The other endpoint's report.")
    differences: dict[str, str] = Field(
        default_factory=dict,
        description="By figure, what `model` (B) has over `against` (A), its interval, what it shows.",
    )
    note: str = Field(description="What was not measured or is uncertain, in words; empty when nothing is.")
