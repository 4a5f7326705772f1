"""The price table: what an hour of a GPU and a million tokens of an endpoint cost, and who says so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import AskError
from .explain import explain
from .strict_yaml import read_yaml

if TYPE_CHECKING:
    from .settings.prices import PriceSettings

_ANY_MODEL = "*"
_MOST_USD = 1e6  # for an hour or a million tokens: sums of such prices are finite


class _Price(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(min_length=1, description="Where the price is from.")
    date: str = Field(min_length=4, description="Of when it is.")


class GpuPrice(_Price):
    """What an hour of one GPU costs, who says so, and since when."""

    usd_per_hour: float = Field(ge=0, le=_MOST_USD, description="US dollars for an hour of one GPU.")


class TokenPrice(_Price):
    """What a million tokens of a model at an endpoint cost."""

    usd_per_million_input: float = Field(
        ge=0, le=_MOST_USD, description="US dollars for a million tokens read."
    )
    usd_per_million_output: float = Field(
        ge=0, le=_MOST_USD, description="US dollars for a million tokens written."
    )

    def of(self, read: float, written: float) -> float:
        """US dollars of so many tokens read and written."""
        return (read * self.usd_per_million_input + written * self.usd_per_million_output) / 1e6


class PriceTable(BaseModel):
    """The content of a price file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: dict[str, GpuPrice] = Field(
        default_factory=dict, description="GPU types and what an hour of each costs."
    )
    endpoints: dict[str, dict[str, TokenPrice]] = Field(
        default_factory=dict,
        description="Addresses of endpoints, and what tokens of each model there cost; * is every other one.",
    )


def read_prices(path: Path) -> PriceTable:
    """The table of a file; AskError names what is wrong with it."""
    try:
        return PriceTable.model_validate(read_yaml(path, "price table").data)
    except ValidationError as error:
        raise AskError(f"{path}: {'; '.join(explain(error, PriceTable))}") from error


def token_price(settings: PriceSettings, url: str, model: str | None) -> TokenPrice | None:
    """The price of a model's tokens at an endpoint by the user's own table; None: it is not known.

    model: its name there; None: not known, so that only the price of every model of that address is sure.
    """
    if settings.file is None:
        return None
    address = plain_address(url)
    for known, models in read_prices(settings.file).endpoints.items():
        if plain_address(known) == address:
            return models.get(model or _ANY_MODEL) or models.get(_ANY_MODEL)
    return None


def plain_address(url: str) -> str:
    """An endpoint's address as it is told apart: without the path of a call, a stroke at its end, a query."""
    plain = url.partition("?")[0].rstrip("/").removesuffix("/chat/completions")
    scheme, mark, rest = plain.partition("://")
    host, stroke, path = rest.partition("/")
    return f"{scheme.lower()}{mark}{host.rpartition('@')[2].lower()}{stroke}{path}"
