"""What a plan is expected to take and what it may take at most, as a person reads it before consenting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..agents import budget
from ..core.plan import Plan


@dataclass(frozen=True)
class ExpectedCost:
    """The sums of what is known, each with its unit; `unknown`: steps whose time is not known yet."""

    time: str
    unknown: str
    gpu: str
    disk: str
    usd: str
    budget: str

    @property
    def in_words(self) -> str:
        """All of it as one line."""
        later = f" and what {self.unknown} will take, known when it starts" if self.unknown else ""
        disk = f", {self.disk} of disk" if self.disk else ""
        limits = f"the plan's budget: {self.budget or 'none'}"
        return f"expected: {self.time}{later}, {self.gpu}, {self.usd}{disk}; {limits}"


def expected_cost(plan: Plan, costs: Mapping[str, Any]) -> ExpectedCost:
    """The cost of a plan. costs: by step, as pre-flight found and records keep them."""
    known = [costs[step.id] for step in plan.steps if step.id in costs]
    unknown = [step.id for step in plan.steps if costs.get(step.id, {}).get("minutes") is None]
    total = {name: sum(c[name] or 0 for c in known) for name in ("minutes", "gpu_hours", "usd", "disk_bytes")}
    return ExpectedCost(
        time=minutes_in_words(total["minutes"]),
        unknown=", ".join(unknown),
        gpu=f"{total['gpu_hours']:g} GPU hours",
        disk=_disk_in_words(total["disk_bytes"]),
        usd=f"{total['usd']:.2f} US dollars",
        budget=budget.in_words(plan.budget.limits) if plan.budget.limits else "",
    )


def _disk_in_words(size: float) -> str:
    if not size:
        return ""
    return f"{size / 1e6:,.0f} MB" if size >= 5e5 else "less than 1 MB"


def minutes_in_words(minutes: float) -> str:
    """A time in minutes, or that it is less than people count."""
    return f"{minutes:.1f} min" if minutes >= 0.05 else "seconds"
