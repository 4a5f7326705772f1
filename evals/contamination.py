"""Contamination: suite items that a model has seen in training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..data.text import fingerprint


def count_overlap(train: Iterable[str], asked: Sequence[str]) -> dict[str, int]:
    """How many asked texts occur in training: {verbatim, normalised} (the second without the first)."""
    seen = set(train)
    folded = {fingerprint(text) for text in seen}
    verbatim = sum(text in seen for text in asked)
    return {"verbatim": verbatim, "normalised": sum(fingerprint(text) in folded for text in asked) - verbatim}
