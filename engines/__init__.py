"""Targets: whatever answers prompts. A checkpoint, a bundle or an endpoint, behind one Protocol."""

from __future__ import annotations

from .base import Answer, Progress, Target

__all__ = ["Answer", "Progress", "Target"]
