"""Settings of the memory: where its index lies, and the models behind endpoints that it may ask."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..inputs import EndpointUrl
from ..secrets import SecretName
from .part import SettingsPart


class MemoryModelSettings(SettingsPart):
    """A model behind an OpenAI-compatible endpoint."""

    url: EndpointUrl = Field(description="Address of its OpenAI-compatible endpoint.")
    model: Annotated[str, Field(min_length=1)] = Field(description="Name of the model there.")
    key: SecretName | None = Field(None, description="Where its key is: secret:env:NAME or secret:file:PATH.")
    timeout_s: float = Field(30, gt=0, le=3600, description="Seconds one reply may take, from first to last.")


class MemorySettings(SettingsPart):
    """Where passages about the workspace are indexed, and what answers are written by."""

    uri: str | None = Field(
        None, description="Address of a Milvus server; empty: Milvus Lite on files of the workspace."
    )
    token: SecretName | None = Field(
        None, description="Where the server's token (user:password) is: secret:env:NAME or secret:file:PATH."
    )
    embedder: MemoryModelSettings | None = Field(
        None, description="Who gives passages their vectors; empty: an embedder fitted on them, offline."
    )
    writer: MemoryModelSettings | None = Field(
        None, description="Who writes answers from the passages; empty: the passages are the answer."
    )
