"""Settings of the planner of plain language, and what a model may take of time, tokens and money."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from ..inputs import EndpointUrl
from ..secrets import SecretName
from .part import SettingsPart


class PlannerSettings(SettingsPart):
    """Who reads plain language. The limits hold for one message of a person, whatever the model does."""

    kind: str = Field(
        "phrases", min_length=1, description="Planner of plain language: phrases, llm, or one of a package."
    )
    base_url: EndpointUrl | None = Field(
        None,
        description="For llm: address of an OpenAI-compatible endpoint, such as http://localhost:8000/v1.",
    )
    model: Annotated[str, Field(min_length=1)] | None = Field(None, description="Name of the model there.")
    key: SecretName | None = Field(None, description="Where its key is: secret:env:NAME or secret:file:PATH.")
    retries: int = Field(2, ge=0, le=10, description="How often a call that failed is made again.")
    max_turns: int = Field(8, ge=1, le=64, description="Calls of the model for one message.")
    max_tokens: int = Field(
        200_000, ge=1_000, le=10_000_000, description="Tokens for one message, in and out, over all calls."
    )
    max_reply_tokens: int = Field(2_000, ge=64, le=65_536, description="Tokens of one reply.")
    max_seconds: float = Field(90, gt=0, le=3600, description="Seconds for one message, over all calls.")
    max_usd: float | None = Field(
        None, gt=0, description="US dollars for one message; needs both prices. Empty: no limit."
    )
    usd_per_million_input: float | None = Field(
        None, ge=0, le=1e6, description="Price of a million tokens read."
    )
    usd_per_million_output: float | None = Field(
        None, ge=0, le=1e6, description="Price of a million tokens written."
    )
    window_tokens: int = Field(
        32_000, ge=4_000, le=2_000_000, description="Tokens of one call: rules, tools, conversation, reply."
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.kind == "llm" and (self.base_url is None or self.model is None):
            raise ValueError("kind llm needs base_url and model")
        if self.max_usd is not None and None in (self.usd_per_million_input, self.usd_per_million_output):
            raise ValueError("max_usd needs usd_per_million_input and usd_per_million_output")
        if self.max_reply_tokens * 2 > self.window_tokens:
            raise ValueError("max_reply_tokens may be at most half of window_tokens")
        return self
