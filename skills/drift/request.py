"""What the `drift` skill is asked, and what it gives."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ...core.artifact_refs import DatasetRef, DriftReportRef
from ...core.contract import Request, Result
from ...core.phrasing import Spoken
from ...serving.releases import EndpointName

LEAST_WINDOW = 100


class DriftRequest(Request):
    """Which endpoint, against what."""

    endpoint: EndpointName = Field(description="Endpoint whose traffic is looked at.")
    reference: DatasetRef | None = Field(
        None, description="Dataset to compare with; empty: what the stable release's model learned from."
    )
    reference_from: str | None = Field(
        None, description="Compare with the endpoint's own traffic after this time, ISO 8601."
    )
    reference_until: str | None = Field(
        None, description="Compare with the endpoint's own traffic up to this time, ISO 8601."
    )
    window: Annotated[
        int, Field(ge=LEAST_WINDOW, le=2000), Spoken(("requests", "window", "last requests"))
    ] = Field(300, description="Latest answered requests that are compared, in requests.")
    since: str | None = Field(
        None, description="Only requests after this time, ISO 8601; empty: however old they are."
    )
    alpha: Annotated[float, Field(gt=0, le=0.2)] = Field(
        0.01, description="Chance of a false alarm a day by all tests and windows together."
    )
    checks_per_day: Annotated[int, Field(ge=1, le=1440)] = Field(
        1, description="How often drift is checked; more looks share the same chance of a false alarm."
    )
    held_out: Annotated[int, Field(ge=0, le=5000)] = Field(
        500, description="Held-out texts that the model answers, to know how it answers usually; 0: none."
    )
    seed: int = Field(1111, ge=0, description="Seed of the reference sample and the permutations.")


class TestFigures(BaseModel):
    """One test of a drift report; one that does not decide raises no alarm."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    __test__ = False  # no test class of pytest

    statistic: float
    p: float
    p_corrected: float
    alarm: bool
    decides: bool = True


class DriftResult(Result):
    """Whether the traffic has moved, by which tests."""

    report: DriftReportRef
    alarm: bool
    endpoint: str
    compared_with: str = Field(description="What the window was compared with.")
    n: int = Field(description="Requests compared.")
    p_value: float = Field(description="Smallest p-value after correction.")
    tests: dict[str, TestFigures]
    evidence: float = Field(description="What the windows since the last alarm show together.")
    evidence_bound: float = Field(description="Evidence at which it is an alarm.")
    visible_share: float | None = Field(
        description="Least share of texts on a new topic that 4 in 5 such windows show; None: over a half."
    )
    message: str = Field(description="The outcome in a sentence or two.")
    note: str = Field("", description="What was not compared, and why.")
    labelled: int = Field(0, description="Requests compared whose answer users called right or wrong.")
    labelled_right: float | None = Field(None, description="Share of these whose answer was right, 0 to 1.")
