"""Round values on an axis, and ticks where they are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class AxisTick:
    """A value of an axis, and where it lies in the picture."""

    at: float
    text: str


def round_marks(low: float, high: float, most: int) -> list[float]:
    """Round values at even steps, from at or below `low` to at or above `high`, `most` steps or so."""
    rough = ((high - low) or abs(high) or 1.0) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]
