"""Budgets: what a plan is expected to take, held against what it may take."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.contract import Cost
from ..core.plan import Budget

_PARTS = (("minutes", "minutes"), ("gpu_hours", "GPU hours"), ("usd", "US dollars"), ("tokens", "tokens"))


def total(costs: Mapping[str, Cost]) -> Cost:
    """The sum over steps; one unknown makes the sum unknown."""

    def add(name: str) -> float | None:
        values = [getattr(cost, name) for cost in costs.values()]
        return None if any(value is None for value in values) else float(sum(values))

    disk = add("disk_bytes")
    return Cost(
        minutes=add("minutes"),
        gpu_hours=add("gpu_hours"),
        usd=add("usd"),
        tokens=add("tokens"),
        disk_bytes=None if disk is None else int(disk),
    )


def over(budget: Budget, costs: Mapping[str, Cost]) -> list[str]:
    """Why the costs do not fit the budget: a sentence for each limit that is broken or cannot be judged."""
    sentences = []
    for name, unit in _PARTS:
        limit = getattr(budget, name)
        if limit is None:
            continue
        unknown = [step for step, cost in costs.items() if getattr(cost, name) is None]
        expected = sum(getattr(cost, name) or 0 for cost in costs.values())
        if unknown:
            sentences.append(
                f"budget of {limit:g} {unit}: what {', '.join(unknown)} will take is not known, so it cannot "
                f"be promised. Drop the limit on {unit} or choose arguments with a known cost."
            )
        elif expected > limit:
            sentences.append(
                f"budget of {limit:g} {unit}: the plan is expected to take {expected:.1f}. "
                "Raise it or ask for less."
            )
    return sentences
