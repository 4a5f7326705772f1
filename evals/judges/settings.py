"""Which judge is asked, and how hard."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..server_settings import ServerSettings


class JudgeSettings(ServerSettings):
    """A model behind an OpenAI-compatible endpoint that scores answers."""

    concurrency: int = Field(8, ge=1, le=256, description="Requests at a time.")
    max_tokens: int = Field(1024, ge=16, le=32_768, description="Longest reply, in tokens.")
    budget_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens that it may take in one step, read and written; what may pass that is not asked. "
        "Empty: no limit, and a budget of dollars or tokens refuses the step.",
    )
    json_mode: bool = Field(True, description="Ask for `response_format: json_object`; some servers refuse.")

    def document(self) -> dict[str, Any]:
        """What of it decides a score: which model, where, and how long it may talk."""
        return self.model_dump(include={"url", "model", "max_tokens", "json_mode"})


class ParaphraserSettings(JudgeSettings):
    """A model behind an OpenAI-compatible endpoint that says questions in other words."""
