"""Settings of prices: what GPUs and tokens of endpoints cost."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from .part import SettingsPart


class PriceSettings(SettingsPart):
    """Which GPUs are paid for by the hour, and the table of what GPUs and endpoints' tokens cost."""

    gpu: str | None = Field(
        None,
        min_length=1,
        description="Type of the GPUs that steps run on, as the table has it; empty: their hours are free.",
    )
    file: Path | None = Field(
        None,
        description="A table of your own prices, of GPUs and endpoints' tokens; empty: the shipped one.",
    )
