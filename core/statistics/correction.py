"""Correction for the number of tests."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in the order given.

    Source: Holm, Scand. J. Stat. 6 (1979) 65-70.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def holm_rejections(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses are rejected; any true one among them with probability at most alpha."""
    return [p <= alpha for p in holm(p_values)]
