"""Load on an OpenAI-compatible endpoint: how fast it answers, how that is told, and two of them compared."""

from __future__ import annotations
