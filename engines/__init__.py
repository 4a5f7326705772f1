"""Engines: what generates text, and what builds them.

A checkpoint, a bundle of any target or a remote endpoint, behind one Protocol: evaluation, the in-process
server and the parity check of a build generate through it and through nothing else.
"""

from __future__ import annotations

from .base import (
    PROMPT_REFUSED,
    Chat,
    Continuation,
    Engine,
    GenerationListener,
    GenerationOptions,
    GenerationResult,
    Progress,
    PromptError,
    ScoringEngine,
    StreamingEngine,
    user_chat,
)
from .ort_llm.generation import TextPiece

__all__ = [
    "PROMPT_REFUSED",
    "Chat",
    "Continuation",
    "Engine",
    "GenerationListener",
    "GenerationOptions",
    "GenerationResult",
    "Progress",
    "PromptError",
    "ScoringEngine",
    "StreamingEngine",
    "TextPiece",
    "user_chat",
]
