"""Which embedder is asked, and how hard."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ...core.inputs import EndpointUrl
from ...core.secrets import SecretName


class EmbedderSettings(BaseModel):
    """A model behind an OpenAI-compatible endpoint that gives vectors of texts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: EndpointUrl = Field(description="Address of the embedder's OpenAI-compatible endpoint.")
    model: Annotated[str, Field(min_length=1)] = Field(description="Name of its model there.")
    key: SecretName | None = Field(None, description="Where its key is: secret:env:NAME or secret:file:PATH.")
    batch: int = Field(32, ge=1, le=2048, description="Texts in one request.")
    concurrency: int = Field(4, ge=1, le=256, description="Requests at a time.")
    timeout_s: float = Field(60, gt=0, le=3600, description="Seconds one reply may take, from first to last.")
    retries: int = Field(3, ge=0, le=10, description="How often a request that failed is made again.")
    requests_per_minute: float | None = Field(
        None, gt=0, description="Requests in a minute, at most; empty: no limit."
    )

    def document(self) -> dict[str, Any]:
        """What of it decides a score: which model, where."""
        return self.model_dump(include={"url", "model"})
