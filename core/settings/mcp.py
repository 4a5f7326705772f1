"""Settings of the MCP server and of project skills."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from .part import SettingsPart


class McpSettings(SettingsPart):
    """Where the MCP server listens over HTTP, and how a person consents through it."""

    port: int = Field(7880, ge=1, le=65535, description="Port of 127.0.0.1 for `opswright mcp --http`.")
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Host headers taken besides 127.0.0.1:PORT and localhost:PORT, each in full.",
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="Origins of web pages that may call the server, each in full; by default none."
    )
    consent: Literal["elicit", "elsewhere"] = Field(
        "elicit",
        description="Ask the person at the client for consent, or take it only from elsewhere.",
    )
    console_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/@?#]+/?$",
        description="Address of the console: a client that can open pages is sent there to consent.",
    )


class ProjectSkillSettings(SettingsPart):
    """Which project skills may run."""

    public_key: Path | None = Field(
        None, description="Public key (PEM, elliptic) that signatures of project skills are verified with."
    )
    require_signature: bool = Field(False, description="Refuse a project skill that is not signed.")
