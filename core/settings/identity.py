"""Settings of who acts in continuous integration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..secrets import SecretName
from .part import SettingsPart


class IdentitySettings(SettingsPart):
    """Where the token lies that says who acts; the policy's `identities` say whose it may be."""

    token: Literal["github"] | SecretName | None = Field(
        None,
        description="secret:env:NAME or secret:file:PATH of an identity token, or github to ask the job's "
        "own service for one; empty: the operating system's user acts.",
    )
