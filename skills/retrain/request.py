"""What `retrain` is asked, and what it gives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ...core.artifact_refs import CheckpointRef, DatasetRef, DriftReportRef
from ...core.contract import InputPath, Request, Result
from ...core.gate import Share
from ...core.phrasing import Spoken
from ...core.suite_source import SuiteSource
from ...data.columns import Columns
from ...data.read import TEXT_COLUMN, Layout
from ...data.row_shapes import LABEL_COLUMN
from ...data.sample import Task
from ...serving.releases import EndpointName


class RetrainRequest(Request):
    """Which alarm, what to learn from, and what the new model must reach. What is empty, the record says."""

    alarm: DriftReportRef = Field(description="Drift report that raised the alarm.")
    new_data: InputPath = Field(description="File or folder with answered rows of what is new.")
    layout: Layout = Field(Layout.AUTO, description="Layout of the new data.")
    split: str | None = Field(None, description="The new data's own split to read; empty: its default.")
    columns: Columns | None = Field(
        None,
        description="Which column holds what; empty: as the earlier dataset was read, else by their names.",
    )
    task: Task | None = Field(None, description="What the rows are for; empty: as the earlier dataset.")
    text_column: str = Field(TEXT_COLUMN, min_length=1, description="Column or JSON key of the text.")
    label_column: str = Field(LABEL_COLUMN, min_length=1, description="Column or JSON key of the label.")
    domain_column: str | None = Field(None, description="Column or JSON key of the domain, if there is one.")
    domains: tuple[str, ...] = Field((), description="Keep only new rows of these domains; empty keeps all.")
    new_items: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Tag values by which the suite's own items of what is new are told. Empty: `domains`, "
        "where the suite has these; else a part of the new rows is held out for it.",
    )
    replay: DatasetRef | None = Field(
        None, description="Earlier dataset to mix in; empty: the one the alarm was measured against."
    )
    replay_ratio: float = Field(
        1.0, ge=0, le=100, description="Rows of the earlier dataset for each new row; 0 mixes in none."
    )
    base: Annotated[CheckpointRef | None, Spoken(("begin from", "start from", "starting from"))] = Field(
        None, description="Checkpoint to start from; empty: the one behind the endpoint's stable release."
    )
    endpoint: EndpointName | None = Field(
        None, description="Endpoint to release to; empty: the one of the alarm."
    )
    suite: SuiteSource | None = Field(
        None, description="Suite that judges the new model; empty: the one its base was judged on."
    )
    epochs: int | None = Field(
        None, ge=1, le=1000, description="Passes over the mixed data; empty: as many as the base had."
    )
    target: str | None = Field(
        None, min_length=1, description="Engine to build, as build-engine names it; empty: as stable's."
    )
    min_overall: Share | None = Field(None, description="Gate: least score over all items, 0 to 1.")
    min_new: Share | None = Field(
        None, description="Gate: least score on what is new, 0 to 1; empty: from stable's score elsewhere."
    )
    max_drop: Share | None = Field(
        None,
        description="Gate: largest drop against the stable release, over all items and on earlier ones, "
        "above 0 and below 1; empty: 0.05, or the least that the suite can show.",
    )
    canary_percent: Annotated[int, Field(ge=1, le=99)] = Field(
        10, description="Percent of sessions that meet the new model before it is promoted."
    )
    budget_minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Wall minutes the plan may take; empty: no limit."
    )
    force: bool = Field(False, description="Propose a plan although the report shows no alarm.")


class RetrainResult(Result):
    """The proposed plan; nothing has been run."""

    plan_file: str = Field(description="Where the plan lies, ready to read, change and run.")
    plan_id: str = Field(description="Id of the plan as it was written.")
    plan_yaml: str = Field(description="Its text.")
    suite: str = Field(description="Suite that judges the new model: its name, or its file.")
    new_samples: int = Field(description="Items of that suite that ask what is new.")
    whats_new: str = Field(description="Page on what is new by the drift report.")
    message: str = Field(description="What to do next, in one sentence.")
