"""Settings of prices: what an hour of the GPUs in use costs."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from .part import SettingsPart


class PriceSettings(SettingsPart):
    """Which GPUs are paid for by the hour, and by which table."""

    gpu: str | None = Field(
        None,
        min_length=1,
        description="Type of the GPUs that steps run on, as the table has it; empty: their hours are free.",
    )
    file: Path | None = Field(None, description="A table of your own prices; empty: the one that is shipped.")
