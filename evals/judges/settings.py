"""Which judge is asked, and how hard."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ...core.inputs import EndpointUrl
from ...core.secrets import SecretName


class JudgeSettings(BaseModel):
    """A model behind an OpenAI-compatible endpoint that scores answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: EndpointUrl = Field(description="Address of the judge's OpenAI-compatible endpoint.")
    model: Annotated[str, Field(min_length=1)] = Field(description="Name of the judge's model there.")
    key: SecretName | None = Field(None, description="Where its key is: secret:env:NAME or secret:file:PATH.")
    concurrency: int = Field(8, ge=1, le=256, description="Requests at a time.")
    timeout_s: float = Field(60, gt=0, le=3600, description="Seconds one reply may take, from first to last.")
    retries: int = Field(3, ge=0, le=10, description="How often a request that failed is made again.")
    requests_per_minute: float | None = Field(
        None, gt=0, description="Requests in a minute, at most; empty: no limit."
    )
    max_tokens: int = Field(1024, ge=16, le=32_768, description="Longest reply, in tokens.")
    json_mode: bool = Field(True, description="Ask for `response_format: json_object`; some servers refuse.")

    def document(self) -> dict[str, Any]:
        """What of it decides a score: which model, where, and how long it may talk."""
        return self.model_dump(include={"url", "model", "max_tokens", "json_mode"})
