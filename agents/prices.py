"""Prices: GPU hours in US dollars, by a table that says where each price is from and of when."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..core.contract import Cost
from ..core.errors import AskError, did_you_mean
from ..core.price_table import GpuPrice, read_prices
from ..core.settings.prices import PriceSettings

SHIPPED = Path(__file__).with_name("prices.yaml")


def gpu_price(settings: PriceSettings) -> GpuPrice | None:
    """The price of the GPUs that the settings name; None where none is named. AskError for one not known."""
    if settings.gpu is None:
        return None
    path = settings.file or SHIPPED
    table = read_prices(path)
    if settings.gpu not in table.gpus:
        known = ", ".join(table.gpus)
        raise AskError(
            f"no price of GPU '{settings.gpu}' in {path} (it has: {known})."
            + did_you_mean(settings.gpu, table.gpus)
        )
    return table.gpus[settings.gpu]


def priced(cost: Cost, price: GpuPrice | None) -> Cost:
    """The cost with what its GPU hours cost added; unknown where either is not known."""
    if price is None:
        return cost
    known = cost.usd is not None and cost.gpu_hours is not None
    usd = (cost.usd or 0.0) + (cost.gpu_hours or 0.0) * price.usd_per_hour if known else None
    return cost.model_copy(update={"usd": usd})


def priced_spending(
    told: Mapping[str, float], reserved: Mapping[str, float], price: GpuPrice | None
) -> dict[str, float]:
    """What a step took: what it told, else what was reserved, with the GPU hours that it told at their price.

    reserved: with its GPU hours priced already.
    """
    spent = {**reserved, **told}
    if price is None or "gpu_hours" not in spent:
        return spent
    own = told.get("usd")
    if own is None:  # what was reserved besides GPU hours
        own = max(0.0, reserved.get("usd", 0.0) - reserved.get("gpu_hours", 0.0) * price.usd_per_hour)
    return {**spent, "usd": own + spent["gpu_hours"] * price.usd_per_hour}
