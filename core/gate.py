"""Gates: success criteria fixed in the plan before any training, and the verdict they lead to.

A failed gate is data, not an error: a `Verdict` with the rows behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .suite_source import SuiteSource

DEFAULT_MAX_DROP = 0.05
"""Of `against: stable` alone. On 300 items a model as good as stable keeps within it 4 times in 5."""


class Decision(StrEnum):
    """What a gate decided."""

    GO = "GO"
    NO_GO = "NO_GO"
    INCONCLUSIVE = "INCONCLUSIVE"


class Tier(StrEnum):
    """What a criterion may do to a verdict."""

    CRITICAL = "critical"
    SUPPORTING = "supporting"
    ADVISORY = "advisory"

    @property
    def in_words(self) -> str:
        """The tier as a person reads it."""
        return {
            Tier.CRITICAL: "must be shown good",
            Tier.SUPPORTING: "must not be shown bad",
            Tier.ADVISORY: "is shown, decides nothing",
        }[self]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


Share = Annotated[float, Field(ge=0, le=1)]
_TIER = Field(
    Tier.CRITICAL,
    description="critical: must be shown good; supporting: must not be shown bad; advisory: only shown.",
)


class SliceBar(_Frozen):
    """What one slice must reach: an absolute bar, or at most this drop against the stable release."""

    min: Share | None = Field(None, description="Least value of the metric on this slice, 0 to 1.")
    max_drop: Share | None = Field(None, description="Largest drop against the stable release, 0 to 1.")
    tier: Tier = _TIER


class SuiteBar(_Frozen):
    """What the same model must reach on another suite, by its newest report there."""

    min: Share = Field(description="Least value of the metric, 0 to 1.")
    metric: str = Field("", description="Scorer of that suite; empty: its first.")
    suite: SuiteSource | None = Field(
        None,
        description="The suite that is meant, where its name does not say: its YAML file. Empty: the file "
        "that a step of the plan evaluates under that name.",
    )
    tier: Tier = _TIER


class LatencyBar(_Frozen):
    """How long an asker may wait."""

    max_p95_ms: float = Field(
        gt=0, allow_inf_nan=False, description="Largest 95th percentile of the answers' latency, in ms."
    )
    tier: Tier = _TIER


class CostBar(_Frozen):
    """What answers may cost, at the price of the machine that gives them."""

    max_usd_per_1000: float = Field(
        ge=0, allow_inf_nan=False, description="Largest cost of 1,000 answers, in US dollars."
    )
    usd_per_hour: float = Field(
        ge=0, allow_inf_nan=False, description="Price of the machine, in US dollars an hour."
    )
    tier: Tier = _TIER


class RobustnessBar(_Frozen):
    """How far the model may fall where its items are altered, as its evaluation's `robustness` says."""

    max_drop: Share = Field(description="Largest drop on altered items against the same as they are, 0 to 1.")
    alterations: tuple[str, ...] = Field(
        (),
        description="Alterations that must be measured, and that alone are judged: case, typos, prefix, "
        "order. Empty: those that the evaluation asked for.",
    )
    tier: Tier = _TIER


class GateSpec(_Frozen):
    """The criteria of one gate."""

    suite: SuiteSource = Field(description="Suite that is judged: its name, or its YAML file.")
    metric: str = Field("", description="Scorer of the suite; empty: its first.")
    min: Share | None = Field(None, description="Least value over all items, 0 to 1.")
    max_drop: Share | None = Field(
        None,
        description="Largest drop over all items against the stable release, 0 to 1; with `against` alone it "
        "is 0.05.",
    )
    tier: Tier = Field(Tier.CRITICAL, description="Tier of the two criteria over all items.")
    slices: dict[str, SliceBar] = Field(default_factory=dict, description="Bars of single slices.")
    suites: dict[str, SuiteBar] = Field(
        default_factory=dict, description="Other suites that the model must have a report on, and their bars."
    )
    latency: LatencyBar | None = Field(None, description="Bar of the answers' latency.")
    cost: CostBar | None = Field(None, description="Bar of the answers' cost.")
    robustness: RobustnessBar | None = Field(
        None, description="Bar of the drop under each of some alterations."
    )
    against: Literal["stable"] | None = Field(
        None, description="Compare item by item with the endpoint's stable release, where one exists."
    )
    endpoint: str | None = Field(
        None, description="Endpoint of `against`; by default the one the plan deploys to."
    )
    alpha: float = Field(
        0.05, gt=0, lt=0.5, description="Largest probability of a wrong GO, and of a wrong NO_GO."
    )
    looks: int = Field(
        1,
        ge=1,
        le=100,
        description="How often the model may be judged on more items; each look has alpha / looks.",
    )
    min_items: int = Field(
        20, ge=1, description="A row with fewer items, or groups of items, is inconclusive."
    )
    leaked: Literal["hold", "leave_out"] = Field(
        "hold",
        description="Items found in training rows: `hold` the verdict (INCONCLUSIVE), or `leave_out` these.",
    )
    discordance: Share | None = Field(
        None,
        description="Share of items you expect only one of the two releases to get right, for planning; "
        "default: from the stable release's score, else 0.1.",
    )

    @property
    def margin(self) -> float:
        """The largest drop over all items."""
        return DEFAULT_MAX_DROP if self.max_drop is None else self.max_drop

    @property
    def level(self) -> float:
        """Alpha of this look."""
        return self.alpha / self.looks


Unit = Literal["share", "points", "count", "ms", "usd"]


class Check(_Frozen):
    """One row of a verdict: what was measured, the bar, and what that means.

    `interval` holds two one-sided bounds, which together cover with confidence `level`. p_go: against "at or
    beyond the bar"; p_nogo: against "within it".
    """

    name: str
    decision: Decision
    got: float | None = None
    bar: float | None = None
    n: int | None = None
    interval: tuple[float, float] | None = None
    level: float | None = None
    p_value: float | None = None
    p_go: float | None = None
    p_nogo: float | None = None
    unit: Unit = "share"
    tier: Tier = Tier.CRITICAL
    message: str = ""

    def in_words(self, figure: float | None) -> str:
        """A figure of this row with its unit; empty when there is none."""
        if figure is None:
            return ""
        match self.unit:
            case "share":
                return f"{figure:.1%}"
            case "points":
                return f"{100 * figure:.1f} points"
            case "count":
                return f"{figure:,.0f}"
            case "ms":
                return f"{figure:,.4g} ms"
            case "usd":
                return f"${figure:,.4g}"

    @property
    def interval_in_words(self) -> str:
        """The interval with its confidence; empty when there is none."""
        if self.interval is None:
            return ""
        low, high = (self.in_words(end) for end in self.interval)
        return f"{low} to {high}" + (f" ({100 * self.level:.3g} %)" if self.level is not None else "")

    @property
    def decision_in_words(self) -> str:
        """The decision, with the tier unless it is critical."""
        return str(self.decision) if self.tier is Tier.CRITICAL else f"{self.decision} ({self.tier})"


def decide(rows: Iterable[tuple[Decision, Tier]]) -> Decision:
    """The verdict that rows lead to.

    NO_GO when a critical or supporting row is, GO when every critical row is and there is one, else
    INCONCLUSIVE.
    """
    deciding = [(decision, tier) for decision, tier in rows if tier is not Tier.ADVISORY]
    if any(decision is Decision.NO_GO for decision, _ in deciding):
        return Decision.NO_GO
    critical = [decision for decision, tier in deciding if tier is Tier.CRITICAL]
    if critical and all(decision is Decision.GO for decision in critical):
        return Decision.GO
    return Decision.INCONCLUSIVE


def decision_of(rows: Iterable[Mapping[str, Any]], spec: Mapping[str, Any] | None = None) -> Decision:
    """The verdict that recorded rows lead to; a row whose tier the spec does not name is critical."""
    named = None if spec is None else set(_tiers_named(spec))
    found = []
    for row in rows:
        decision, tier = row.get("decision"), row.get("tier")
        tier = Tier(tier) if tier in set(Tier) and (named is None or tier in named) else Tier.CRITICAL
        found.append((Decision(decision) if decision in set(Decision) else Decision.INCONCLUSIVE, tier))
    return decide(found)


def _tiers_named(spec: Mapping[str, Any]) -> Iterator[str]:
    """The tiers that recorded criteria have, however deep."""
    for name, value in spec.items():
        if name == "tier":
            yield str(value)
        elif isinstance(value, Mapping):
            yield from _tiers_named(value)


class Verdict(_Frozen):
    """What a gate decided and why; notes are what a reader should know and what decides nothing."""

    decision: Decision
    rows: tuple[Check, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[Check]) -> Verdict:
        """The verdict that the rows lead to, by `decide`."""
        return cls(decision=decide((row.decision, row.tier) for row in rows), rows=tuple(rows))

    @property
    def is_go(self) -> bool:
        """Whether the plan may go on."""
        return self.decision is Decision.GO
