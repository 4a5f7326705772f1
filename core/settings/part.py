"""What every part of the settings is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class SettingsPart(BaseModel):
    """A frozen group of settings that takes no unknown name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
