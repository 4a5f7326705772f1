"""What is said of any model server that an evaluation asks, besides the models under test."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ..core.inputs import EndpointUrl
from ..core.secrets import SecretName


class ServerSettings(BaseModel):
    """A model behind an OpenAI-compatible endpoint, and how hard it is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: EndpointUrl = Field(description="Address of its OpenAI-compatible endpoint.")
    model: Annotated[str, Field(min_length=1)] = Field(description="Name of the model there.")
    key: SecretName | None = Field(None, description="Where its key is: secret:env:NAME or secret:file:PATH.")
    timeout_s: float = Field(60, gt=0, le=3600, description="Seconds one reply may take, from first to last.")
    retries: int = Field(3, ge=0, le=10, description="How often a request that failed is made again.")
    requests_per_minute: float | None = Field(
        None, gt=0, description="Requests in a minute, at most; empty: no limit."
    )
