"""Which embedder is asked, and how hard."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from .server_settings import ServerSettings


class EmbedderSettings(ServerSettings):
    """A model behind an OpenAI-compatible endpoint that gives vectors of texts."""

    batch: int = Field(32, ge=1, le=2048, description="Texts in one request.")
    concurrency: int = Field(4, ge=1, le=256, description="Requests at a time.")

    def document(self) -> dict[str, Any]:
        """What of it decides a score: which model, where."""
        return self.model_dump(include={"url", "model"})
