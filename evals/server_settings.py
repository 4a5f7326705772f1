"""What is said of any model server that an evaluation asks, besides the models under test."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ..core.contract import Finding
from ..core.errors import OpswrightError
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


def sent_to(kind: str, server: ServerSettings, what: str = "questions and answers") -> Finding:
    """That a server is sent something, and where it is; a stop when its key is not there."""
    if server.key is not None:
        try:
            server.key.resolve()
        except OpswrightError as error:
            return Finding(level="stop", message=f"the {kind}'s key: {error}")
    key = f" with the key {server.key}" if server.key else ""
    message = f"{what} are sent to the {kind} {server.model} at {server.url}{key}."
    return Finding(level="warn", message=message, fix="Check the address before you approve the plan.")
