"""Prices: GPU hours in US dollars, by a table that says where each price is from and of when."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.contract import Cost
from ..core.errors import AskError, did_you_mean
from ..core.explain import explain
from ..core.settings.prices import PriceSettings
from ..core.strict_yaml import read_yaml

SHIPPED = Path(__file__).with_name("prices.yaml")


class GpuPrice(BaseModel):
    """What an hour of one GPU costs, who says so, and since when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd_per_hour: float = Field(ge=0, allow_inf_nan=False, description="US dollars for an hour of one GPU.")
    source: str = Field(min_length=1, description="Where the price is from.")
    date: str = Field(min_length=4, description="Of when it is.")


class PriceTable(BaseModel):
    """The content of a price file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: dict[str, GpuPrice] = Field(description="GPU types and what an hour of each costs.")


def read_prices(path: Path) -> PriceTable:
    """The table of a file; AskError names what is wrong with it."""
    try:
        return PriceTable.model_validate(read_yaml(path, "price table").data)
    except ValidationError as error:
        raise AskError(f"{path}: {'; '.join(explain(error, PriceTable))}") from error


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
