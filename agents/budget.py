"""Budgets: what a plan is expected to take and has taken, held against what it may take."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.contract import Cost
from ..core.plan import Budget

UNITS = {"minutes": "minutes", "gpu_hours": "GPU hours", "usd": "US dollars", "tokens": "tokens"}


def total(costs: Mapping[str, Cost]) -> Cost:
    """The sum over steps; one unknown makes the sum unknown."""

    def add(name: str) -> float | None:
        values = [getattr(cost, name) for cost in costs.values()]
        return None if any(value is None for value in values) else float(sum(values))

    disk = add("disk_bytes")
    amounts = {name: add(name) for name in UNITS}
    return Cost(**amounts, disk_bytes=None if disk is None else int(disk))


def left(budget: Budget, spent: Mapping[str, float]) -> Budget:
    """What a budget still allows after what was spent."""
    rest = {name: max(0.0, limit - spent.get(name, 0.0)) for name, limit in budget.limits.items()}
    return Budget(**rest)


def over(budget: Budget, costs: Mapping[str, Cost]) -> list[str]:
    """Why the costs do not fit the budget: a sentence for each limit that is broken or cannot be judged."""
    sentences = []
    for name, limit in budget.limits.items():
        unit = UNITS[name]
        unknown = [step for step, cost in costs.items() if getattr(cost, name) is None]
        expected = sum(getattr(cost, name) or 0 for cost in costs.values())
        if unknown:
            sentences.append(
                f"budget of {figure(limit)} {unit}: what {', '.join(unknown)} will take is not known, so it "
                f"cannot be promised. Drop the limit on {unit} or choose arguments with a known cost."
            )
        elif expected > limit:
            sentences.append(
                f"budget of {figure(limit)} {unit}: the plan is expected to take {figure(expected)}. "
                "Raise it or ask for less."
            )
    return sentences


def in_words(spent: Mapping[str, float]) -> str:
    """What was spent, as a person reads it."""
    told = [f"{figure(spent[name])} {unit}" for name, unit in UNITS.items() if spent.get(name)]
    return ", ".join(told) or "nothing"


def figure(value: float) -> str:
    """An amount as people write it: three digits that count, and a large one whole, "12,500"."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
