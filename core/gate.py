"""Gates: success criteria fixed in the plan before any training, and the verdict they lead to.

A failed gate is data, not an error: a `Verdict` with the rows behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .suite_source import SuiteSource


class Decision(StrEnum):
    """What a gate decided."""

    GO = "GO"
    NO_GO = "NO_GO"
    INCONCLUSIVE = "INCONCLUSIVE"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


Share = Annotated[float, Field(ge=0, le=1)]


class SliceBar(_Frozen):
    """What one slice must reach: an absolute bar, or at most this drop against the stable release."""

    min: Share | None = Field(None, description="Least value of the metric on this slice, 0 to 1.")
    max_drop: Share | None = Field(None, description="Largest drop against the stable release, 0 to 1.")


class GateSpec(_Frozen):
    """The criteria of one gate."""

    suite: SuiteSource = Field(description="Suite that is judged: its name, or its YAML file.")
    metric: str = Field("exact_match", description="Metric of the suite.")
    min: Share | None = Field(None, description="Least value over all items, 0 to 1.")
    slices: dict[str, SliceBar] = Field(default_factory=dict, description="Bars of single slices.")
    against: Literal["stable"] | None = Field(
        None, description="Compare item by item with the endpoint's stable release, where one exists."
    )
    endpoint: str | None = Field(
        None, description="Endpoint of `against`; by default the one the plan deploys to."
    )
    alpha: float = Field(0.05, gt=0, lt=1, description="Significance level of the paired comparison.")
    min_items: int = Field(100, ge=1, description="Fewer items than this make the gate inconclusive.")


class Check(_Frozen):
    """One row of a verdict: what was measured, the bar, and what that means."""

    name: str
    decision: Decision
    got: float | None = None
    bar: float | None = None
    n: int | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    message: str = ""


class Verdict(_Frozen):
    """What a gate decided and why."""

    decision: Decision
    rows: tuple[Check, ...]

    @classmethod
    def of(cls, rows: Sequence[Check]) -> Verdict:
        """NO_GO when any row is, else INCONCLUSIVE when any row is or there is none, else GO."""
        decisions = {row.decision for row in rows}
        if Decision.NO_GO in decisions:
            return cls(decision=Decision.NO_GO, rows=tuple(rows))
        if Decision.INCONCLUSIVE in decisions or not rows:
            return cls(decision=Decision.INCONCLUSIVE, rows=tuple(rows))
        return cls(decision=Decision.GO, rows=tuple(rows))

    @property
    def is_go(self) -> bool:
        """Whether the plan may go on."""
        return self.decision is Decision.GO
